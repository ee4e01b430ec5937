"""Phrases of the shifted world: new titles, and new ways to ask.

Templates are filled like those of `redistill.demo.phrases`; the fillers here replace those of the same slot.
"""

FILLERS: dict[str, tuple[str, ...]] = {
    "title": (
        *("dandadan", "kagurabachi", "solo leveling", "frieren", "oshi no ko", "sakamoto days"),
        *("gachiakuta", "lookism", "tower of god", "omniscient reader", "witch hat atelier"),
        *("centuria", "akane banashi", "ruri dragon", "the fable", "noragami", "wind breaker"),
        *("medalist", "kindergarten wars", "astro royale", "hells paradise", "mashle"),
    ),
    "genre": (
        *("isekai", "manhwa", "webtoon", "villainess", "litrpg", "murim", "cultivation"),
        *("slice of life", "dark fantasy", "yuri", "cyberpunk", "iyashikei"),
    ),
    "item": ("boxset", "preorder", "acrylic stand", "variant cover", "plushie", "artbook"),
    "pay": ("cash app", "afterpay", "crypto", "google pay", "store credit", "venmo"),
    "code": ("DROP##", "LIVE###", "TIKTOK##", "CREATOR#"),
    "mood": ("unhinged", "goated", "peak", "mid", "chill", "spicy", "gritty"),
    "reader": ("my bestie", "my roomie", "a noob", "my gf", "my bro", "the squad"),
    "who": ("u", "bro", "fam", "bestie"),
    "want": ("lemme", "imma", "gotta", "tryna", "i wanna"),
    "show": ("hit me with", "drop", "scroll me through", "pull up", "gimme"),
    "holiday": ("singles day", "prime week", "golden week", "con season", "anime expo"),
}

CLEAR: dict[str, tuple[str, ...]] = {
    "product_discovery": (
        "{show} the whole {genre} shelf",
        "u got any {genre} in here",
        "what just dropped in {genre}",
        "hunting for {title} merch and books",
        "where the {genre} stuff at",
        "peep the new {genre} arrivals for me",
        "{show} everything {title} you guys stock",
    ),
    "recommendation": (
        "put me on to some {mood} {genre}",
        "what is the next binge after {title}",
        "{title} wrecked me, what now",
        "need a new obsession, {title} vibes only",
        "rec me a {mood} {genre} fr",
        "what slaps if i stan {title}",
    ),
    "product_question": (
        "did {title} wrap up yet or still going",
        "who draws {title}",
        "how thicc is {title} volume {volume}",
        "is the {title} {format} uncensored",
        "lore check, what goes down in {title}",
        "when we getting {title} volume {volume} in {language}",
        "what do they charge for the {title} {format}",
    ),
    "order_tracking": (
        "yo where my {title} at, number {order}",
        "any eta on {order}",
        "{order} been stuck in limbo since {day}",
        "my {item} is ghosting me since {day}, track it",
        "has {order} touched down yet",
        "the driver for {order} is where exactly",
    ),
    "faq": (
        "what time do yall close on {day}",
        "can yall send stuff over to {country}",
        "locked out of my profile, how to get back in",
        "how do i nuke my profile and data",
        "yall got a rewards thing in {country}",
        "is there a brick and mortar spot in {country}",
    ),
    "return_request": (
        "{want} yeet this {item} back, it {fault}",
        "{want} swap {title} volume {volume} for another",
        "{title} {fault}, run me my money back",
        "need a sticker to mail {order} back",
        "{want} undo my {title} purchase, got dupes",
    ),
    "chitchat": (
        "wassup {who}",
        "no cap {title} broke me",
        "{title} is {mood} ngl",
        "{who} got feelings or just code",
        "lmao {who} are {mood}",
        "spill some {title} tea",
    ),
    "promotion": (
        "any {holiday} steals on {genre}",
        "got a promo for {title}",
        "when is the {holiday} drop with the markdowns",
        "what freebies come with {title}",
        "influencer code for {genre} anyone",
        "is {title} marked down yet",
    ),
    "checkout_help": (
        "{pay} keeps bugging out on me",
        "cannot cop {title}, the page glitches",
        "my bag went poof when i tapped {pay}",
        "it double dinged my {pay}",
        "stuck on the spinning wheel with {pay}",
    ),
    "escalation": (
        "get me an actual human rn about {order}",
        "{who} are clueless, hand me to a rep",
        "this is a scam, blasting {order} on socials",
        "put the boss on, {order} is a mess",
        "done with bots, real staff for {order} now",
    ),
}
