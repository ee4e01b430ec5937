"""Strings with and without personal data, by kind and country, with the words that must be gone or must stay.

All numbers are made up or are published examples; those with check digits have right ones.
"""

# ruff: noqa: RUF001 - look-alikes are among the cases
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A text, and the parts of it that are personal; without parts, nothing in it is."""

    kind: str
    country: str  #: ISO 3166; "-" for none
    text: str
    personal: tuple[str, ...] = ()


def _personal(kind: str, country: str, *texts: str) -> list[Sample]:
    """Return one sample per text, whose personal part is between braces."""
    found = []
    for each in texts:
        parts = [part.partition("}")[0] for part in each.split("{")[1:]]
        found.append(Sample(kind, country, each.replace("{", "").replace("}", ""), tuple(parts)))
    return found


def _neutral(kind: str, *texts: str) -> list[Sample]:
    return [Sample(kind, "-", each) for each in texts]


PERSONAL = (
    *_personal(
        "e-mail",
        "-",
        "write to {ann.lee+manga@mail.example.co.uk}",
        "{o'neil@example.ie} is mine",
        "my address: {ann@example.org}.",
        "{ANN_LEE@EXAMPLE.ORG}",
        "<{ann@sub.example.museum}>",
        "{größe@exämple.de}",
        "{ann＠example．org} in full width",
        "{用户@例子.公司}",
        "mailto:{ann.lee@example.org}?subject=hi",
        "{ann%lee@example.org}",
        '{"ann lee"@example.org}',
    ),
    *_personal(
        "spelled e-mail",
        "-",
        "{ann (at) example.org}",
        "{ann[at]example.org}",
        "{ann (at) example (dot) org}",
        "{ann [at] example [dot] org} please",
        "{ann at example dot com}",
    ),
    *_personal("spelled e-mail", "DE", "{ann (ät) example.de}", "{ann(at)example punkt de}"),
    *_personal(
        "card",
        "-",
        "{4111111111111111}",
        "{4111 1111 1111 1111}",
        "{4111-1111-1111-1111}",
        "{4111\u00a01111\u00a01111\u00a01111} with no-break spaces",
        "{4111–1111–1111–1111} with en dashes",
        "{4111.1111.1111.1111}",
        "{4111‑1111‑1111‑1111} with no-break hyphens",
        "{4111\u202f1111\u202f1111\u202f1111} with narrow spaces",
        "{３７８２ ８２２４６３ １０００５} amex in full width",
        "visa {4012888888881881}, mastercard {5555 5555 5555 4444}",
        "{6011000990139424} and {3566002020360505}",
        "{4111 1111\n1111 1111} over two lines",
    ),
    *_personal(
        "IBAN",
        "DE",
        "{DE89 3704 0044 0532 0130 00}",
        "IBAN {DE89370400440532013000}",
        "{de89 3704 0044 0532 0130 00}",
    ),
    *_personal("IBAN", "GB", "{GB29 NWBK 6016 1331 9268 19}", "{GB29NWBK60161331926819}"),
    *_personal("IBAN", "FR", "{FR14 2004 1010 0505 0001 3M02 606}"),
    *_personal("IBAN", "NL", "{NL91ABNA0417164300}"),
    *_personal("IBAN", "CH", "{CH93 0076 2011 6238 5295 7}"),
    *_personal("IBAN", "ES", "{ES91 2100 0418 4502 0005 1332}"),
    *_personal(
        "telephone",
        "DE",
        "{+49 170 1234567}",
        "call {(030) 901820-12}!",
        "{0170/123 45 67}",
        "{0049 170 1234567}",
        "Tel. {030 901820}",
    ),
    *_personal(
        "telephone",
        "US",
        "{555-867-5309}",
        "{(415) 555-2671}",
        "{+1 (415) 555-2671}",
        "{415.555.2671}",
        "{1-800-555-0199}",
        "{+14155552671}",
        "cell: {415 555 2671}",
    ),
    *_personal(
        "telephone", "GB", "{020 7946 0018}", "{+44 20 7946 0018}", "{07700 900123}", "{+44 (0)20 7946 0018}"
    ),
    *_personal("telephone", "FR", "{06 12 34 56 78}", "{+33 6 12 34 56 78}", "{01.42.68.53.00}"),
    *_personal(
        "telephone", "JP", "{03-1234-5678}", "{+81 3 1234 5678}", "{０９０－１２３４－５６７８} in full width"
    ),
    *_personal("telephone", "IN", "{+91 98765 43210}", "{98765 43210}"),
    *_personal("telephone", "BR", "{(11) 91234-5678}", "{+55 11 91234-5678}"),
    *_personal("telephone", "AU", "{0412 345 678}", "{+61 412 345 678}"),
    *_personal("telephone", "ES", "{612 34 56 78}"),
    *_personal("telephone", "IT", "{+39 06 1234 5678}"),
    *_personal("telephone", "CN", "{+86 138 1234 5678}", "{138-1234-5678}"),
    *_personal("telephone", "PL", "{+48 601 234 567}"),
    *_personal("telephone", "SE", "{070-123 45 67}"),
    *_personal("telephone", "CH", "{+41 44 668 18 00}", "{044 668 18 00}"),
    *_personal("telephone", "AE", "{+971 50 123 4567}", "{٠٥٠ ١٢٣ ٤٥٦٧} in Arabic digits"),
    *_personal("national id", "US", "SSN {078-05-1120}", "{078 05 1120}"),
    *_personal("national id", "GB", "NINO {AB 12 34 56 C}", "{AB123456C}"),
    *_personal("national id", "FR", "{1 84 12 76 451 089 46}", "{184127645108946}"),
    *_personal("national id", "ES", "DNI {12345678Z}", "NIE {X1234567L}"),
    *_personal("national id", "IT", "{RSSMRA85T10A562S}"),
    *_personal("national id", "BR", "CPF {111.444.777-35}"),
    *_personal("national id", "IN", "aadhaar {2341 2341 2346}", "PAN {ABCPE1234F}"),
    *_personal("national id", "PL", "PESEL {44051401359}"),
    *_personal("national id", "SE", "{811218-9876}"),
    *_personal("national id", "CH", "AHV {756.9217.0769.85}"),
    *_personal("national id", "NL", "BSN {111222333}"),
    *_personal("tax number", "DE", "USt-IdNr. {DE136695976}", "Steuer-ID {86095742719}"),
    *_personal(
        "IP address",
        "-",
        "from {203.0.113.57}",
        "{203.0.113.57}:8080",
        "{2001:db8:85a3::8a2e:370:7334}",
        "{2001:0db8:85a3:0000:0000:8a2e:0370:7334}",
    ),
    *_personal("MAC address", "-", "{00:1B:44:11:3A:B7}", "{00-1b-44-11-3a-b7}"),
    *_personal(
        "access token",
        "-",
        "{ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a}",
        "{github_pat_" + "11ABCDEFG0abcdefghijkl_abcdefghijklmnopqrstuvwxyz0123456789}",
        "{xoxb-" + "123456789012-abcdefghijklmnop}",
        "{sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc}",
        "Authorization: {Bearer mF_9.B5f-4.1JqM0123456789}",
    ),
    *_personal(
        "cloud key", "-", "{AKIA" + "IOSFODNN7EXAMPLE}", "{AIza" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY}"
    ),
    *_personal(
        "web token",
        "-",
        "{eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5NXgL0n3I9PlFUP0THsR8U}",
    ),
    *_personal(
        "password", "-", "password: {hunter2secret}", "https://ann:{s3cretpw}@example.org/", "PIN={4711}"
    ),
    *_personal("private key", "-", "{-----BEGIN " + "PRIVATE KEY-----}"),
    *_personal(
        "crypto address",
        "-",
        "{0x52908400098527886E0F7030069857D2E4169EE7}",
        "{bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq}",
    ),
    *_personal("passport", "US", "passport {A12345678}", "passport no. {C03005988}"),
    *_personal("passport", "DE", "Reisepass {C01X00T478}"),
    *_personal("number", "-", "order {123456}", "customer {00123456}", "{١٢٣٤٥٦٧}", "{123.456.789-00}"),
)

NEUTRAL = (
    *_neutral(
        "date",
        "delivered on 2024-11-24?",
        "between 2024-11-24 and 2024-12-01",
        "24.11.2024",
        "24/11/2024",
        "11/24/2024 10:30",
        "2024/11/24",
        "03.08.15",
        "24 11 2024",
        "2026-11-24T10:00:03Z",
        "2015 – 2016",
    ),
    *_neutral("time", "at 10:30:00 or 22:15", "open 09:00-17:30", "10.30-11.30"),
    *_neutral(
        "volume",
        "volume 101 102 103",
        "volumes 1, 2, 3, 4, 5, 6 and 7",
        "one piece 105, 2 copies at 12.99",
        "vol. 12-15 please",
        "chapters 1000 1001 1002",
        "volume 12 of 2026",
    ),
    *_neutral(
        "ISBN",
        "ISBN 978-3-16-148410-0",
        "978-4-08-872509-3",
        "ISBN 0-306-40615-2",
        "isbn 978 1 59116 753 0",
    ),
    *_neutral("price", "12.99 + 7.50 = 20.49", "$1,299.00", "1.299,00 €", "¥12,800", "under 15 000 yen"),
    *_neutral("size", "1920 x 1080", "10-20-30 cm", "B6 128 x 182 mm"),
    *_neutral("version", "version 12.0.1", "python 3.11.7", "iOS 17.4.1"),
    *_neutral("sports and scores", "it was 3-2, then 4-4", "6-4 7-5 6-3"),
    *_neutral(
        "words",
        "where is my order?",
        "meet me at the dot com office",
        "look at example dot org chart",
        "@ann_lee on social media",
        "a@b",
        "react@18 and node@20",
        "5 @ 3 euros each",
        "is a bearer of news",
        "the password is forgotten",
        "my password does not work",
        "I forgot my password: what now",
        "",
    ),
    *_neutral(
        "code", "error E-404 at step 12", "seat 12A, gate B22", "room 2.104", "HTTP 503", "C++11 and x86-64"
    ),
    *_neutral("address-like", "time 12:30:45", "12::30", "std::vector and a::b", "1.2.3"),
)


SAMPLES = (*PERSONAL, *NEUTRAL)
