"""Detection delays and false alarms of R1, of the sequential mode, and of the detectors of river and frouros.

The first tables count cycles; those of R1 are exact. The last one counts requests: the setting of each
detector is tuned so that 5% of streams with a constant agreement of .974 alarm within 1,000 cycles of 1,000
requests. All are then tested on the same other streams. Two processes share the work.

    make bench-detection
    python bench/detection/run.py --quick
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Final

from contenders import CONTENDERS
from cycles import SIZES, equal, guaranteed, literal, mean, ramps, share, table
from levels import ALARM_THRESHOLD, assert_as_the_product
from pictures import draw_alarms, draw_delays
from race import OTHERS, Result, assert_as_the_library, race
from rich.console import Console
from rich.table import Table
from streams import Ints

_DOCS: Final = Path(__file__).parents[2] / "docs"
_STREAMS: Final = 2_000
_SHOWN: Final = (0.94, 0.93, 0.90)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="use a fifth of the streams and draw no pictures"
    )
    part = 0.2 if parser.parse_args().quick else 1.0
    console, streams = Console(width=160), round(_STREAMS * part)
    for n, alarm_threshold in product(SIZES[:2], (12.0, ALARM_THRESHOLD)):
        assert_as_the_product(n, alarm_threshold)
    console.print(
        "R1 and the sequential mode alarm at the same cycles as triggers.rules.evaluation, on 80 streams"
    )
    with ProcessPoolExecutor(2) as pool:
        for tables in (literal(), guaranteed(pool, streams), equal(pool, streams), ramps(pool, streams)):
            console.print(*tables, sep="\n")
        results = []
        for name, contender in CONTENDERS.items():
            results.append(race(name, pool, part))
            if contender.library is not None:
                assert_as_the_library(name, contender, results[-1].setting)
                console.print(f"{name}: alarms at the same requests as the library's detector, on 8 streams")
    console.print(
        "from .974: share of streams with an alarm above .95, and requests from a step to the alarm"
    )
    console.print(raced(results))
    if part == 1:
        draw_delays(_DOCS / "detection-delay.svg", results)
        draw_alarms(_DOCS / "detection-alarms.svg", results)


def raced(results: Sequence[Result]) -> Table:
    found = table(
        "detector", "setting", "streams", *(path.name for path in OTHERS), *(f"to {a:.2f}" for a in _SHOWN)
    )  # fmt: skip
    for result in results:
        setting = f"{CONTENDERS[result.name].setting} {result.setting:.3g}"
        found.add_row(
            result.name,
            setting if CONTENDERS[result.name].setting else "guaranteed" if "seq" in result.name else "exact",
            f"{result.healthy['healthy'].size:,}",
            *map(share, result.healthy.values()),
            *(_delay(result.delays[a]) for a in _SHOWN),
        )
    return found


def _delay(requests: Ints) -> str:
    """Return the mean delay of the streams with an alarm within 200 cycles, and the share without one."""
    missed = float((requests == 0).mean())
    text = mean(requests[requests > 0], digits=0) if missed < 1 else "-"
    return text if not missed else f"{text}; {missed:.0%} none"


if __name__ == "__main__":
    main()
