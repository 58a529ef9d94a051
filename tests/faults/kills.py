"""Kills at random and at aimed moments; the next call of the same command must finish."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import time
from collections.abc import Callable

import psutil

from faults.call import Book, Done, Reference, Running, wait_until
from faults.field import Case, Field
from faults.table import Row
from faults.toy import LONG_CELL, WAIT

COMMAND, ENGINE, CHAPTER, KERNEL, STEP, ALL = (
    "command",
    "Snakemake",
    "chapter",
    "kernel",
    "step",
    "everything",
)

# What is killed how; the first half of them is what people do most.
KINDS = (
    (COMMAND, signal.SIGINT), (COMMAND, signal.SIGTERM), (COMMAND, signal.SIGKILL), (KERNEL, signal.SIGKILL),
    (ALL, signal.SIGKILL), (CHAPTER, signal.SIGKILL), (ENGINE, signal.SIGKILL), (CHAPTER, signal.SIGTERM),
    (COMMAND, signal.SIGHUP), (ENGINE, signal.SIGTERM), (COMMAND, signal.SIGKILL), (ALL, signal.SIGKILL),
)  # fmt: skip
_BEFORE_ALL = 3.0

# Orphans have these seconds to end; what goes on in the long cell is not over then, however busy the machine.
_AT_ONCE = 10.0
_LONG = 60.0
STOPPED = "Stopped. The next call goes on from here."
_WORDS = {
    ENGINE: r" -m snakemake .*--snakefile",
    CHAPTER: r" -m spinscape\.companion\.execute ",
    KERNEL: r"ipykernel_launcher|companion/kernel\.py",
    STEP: r" -m spinscape\.companion\.(staging|site) ",
}


def strike(book: Book, running: Running, target: str, number: int) -> str:
    """Send a signal to a target, or to the command where there is no such process; return who got it."""
    if target == ALL:
        book.kill_all()
        return ALL
    found = victims(book, target) if target != COMMAND else []
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    if found:
        return target
    running.process.send_signal(number)
    return COMMAND


def victims(book: Book, target: str) -> list[psutil.Process]:
    """Processes of a copy that are of one kind; of Snakemake the outermost."""
    found = []
    for process in book.processes():
        with contextlib.suppress(psutil.Error):
            if re.search(_WORDS[target], " ".join(process.cmdline())):
                found.append(process)
    return sorted(found, key=lambda process: process.pid)[: 1 if target == ENGINE else None]


def random_moments(count: int, seed: int, seconds: float) -> list[tuple[float, str, int]]:
    """Draw moments over an undisturbed call's duration, each with a target and a signal."""
    draw = random.Random(seed)
    chosen = [KINDS[number % len(KINDS)] for number in range(count)]
    draw.shuffle(chosen)
    return [(draw.uniform(0.01, 0.97) * seconds, target, int(number)) for target, number in chosen]


def at_moment(book: Book, reference: Reference, moment: float, target: str, number: int, row: Row) -> Done:
    """Start the call and strike at a moment of it; earlier where the call ended before."""
    while True:
        running = book.start(*reference.words)
        deadline = running.begin + moment
        while time.monotonic() < deadline and running.process.poll() is None:
            time.sleep(0.01)
        if running.process.poll() is None:
            return hit(book, reference, running, target, number, row)
        running.end()
        moment *= 0.7
        forget(book)


def at_state(
    book: Book, reference: Reference, state: Callable[[], bool], target: str, number: int, row: Row
) -> Done:
    """Start the call and strike as soon as it is in a state."""
    running = book.start(*reference.words)
    seen = wait_until(lambda: state() or running.process.poll() is not None, patience=300, pause=0.002)
    row.expect(seen and running.process.poll() is None, "the call was never in the state")
    return hit(book, reference, running, target, number, row)


def hit(book: Book, reference: Reference, running: Running, target: str, number: int, row: Row) -> Done:
    """Strike now, wait for the end, and check how the call ended."""
    seconds = time.monotonic() - running.begin
    state = book.state(reference.site)
    got = strike(book, running, target, number)
    struck = time.monotonic()
    name = signal.Signals(number).name
    what = f"{got}: {name}"
    row.fault = f"{row.fault}, then {what}" if row.fault else what
    row.when += f"{'; ' if row.when else ''}{seconds:.1f} s, {state}"
    done = running.end(90)
    row.code, row.said, row.seconds = done.code, done.said, time.monotonic() - struck
    check_end(row, got, number, done)
    return done


def check_end(row: Row, got: str, number: int, done: Done) -> None:
    """Check the exit code and the message of a call that was struck."""
    if done.code == 0 and number != signal.SIGKILL:
        row.expect(not done.err, "ended well, but with words on stderr")
        return
    row.expect("Traceback" not in done.out + done.err, "a traceback was shown")
    if got == ALL or (got == COMMAND and number == signal.SIGKILL):
        row.expect(done.code in (-signal.SIGKILL, 0), f"exit code {done.code}")
    elif got == COMMAND:
        # Python itself ends so, or typer, before anything was started.
        early = done.code in (-number, 128 + number) and not done.lines and done.seconds < _BEFORE_ALL
        row.expect(early or done.code == 128 + number, f"exit code {done.code}")
        row.expect(early or done.said == STOPPED, "another message")
        row.expect(len(done.lines) <= 1, "more than one message")
    elif done.code != 0:
        row.expect(done.code == 1, f"exit code {done.code}")
        row.expect(done.said, "no message")
        if got == KERNEL:
            named = r"the kernel (was killed \(SIGKILL\)|did not start: Kernel died)"
            row.expect(re.search(named, done.said), "the dead kernel is not named")
        if got == ENGINE:
            row.expect("Snakemake was ended from outside" in done.said, "the dead Snakemake is not named")
        if got == STEP:
            row.expect(re.search(r"ended from outside|could not be", done.said), "the dead step is not named")
        if got == CHAPTER:
            row.expect("its process was ended from outside" in done.said, "the dead chapter is not named")


def forget(book: Book) -> None:
    """Remove what calls made, so that the next one starts from nothing."""
    book.kill_all()
    shutil.rmtree(book.built, ignore_errors=True)


def check_next(book: Book, reference: Reference, row: Row, *, at_once: bool = False) -> None:
    """Call the same command again and check that it finishes and that nothing is lost."""
    if not at_once:
        row.orphans += book.orphans()
    for name in book.damaged():
        row.expect(False, f"half-written: {name}")
    kept = book.kept()
    done = book.call(*reference.words)
    ran = done.ran.removeprefix("Executed: ").strip()
    row.then = f"exit {done.code}, {done.seconds:.1f} s, " + (
        "ran nothing" if ran == "nothing." else f"ran {ran}" if ran else done.said
    )
    row.then += f", kept {len(kept)}" + (", called at once" if at_once else "")
    row.expect(done.code == 0, f"the next call ended with {done.code}: {done.said}")
    row.expect("Traceback" not in done.out + done.err, "the next call showed a traceback")
    now = book.kept()
    lost = [name for name, about in kept.items() if now.get(name) != about]
    row.expect(not lost, f"made again: {', '.join(lost)}")
    row.orphans += book.orphans()
    compare(book, reference, row)


def compare(book: Book, reference: Reference, row: Row) -> None:
    """Compare recorded values and files with those of the undisturbed call."""
    try:
        row.values = "equal" if book.values() == reference.values else "differ"
    except ValueError as error:
        row.values = f"cannot be read ({error})"
    row.leftovers += book.leftovers(reference.listing)
    missing = {x for x in reference.listing - book.listing() if "/progress/" not in x}
    row.expect(not missing, f"missing at the end: {', '.join(sorted(missing)[:3])}")
    for name in book.damaged():
        row.expect(False, f"damaged at the end: {name}")


def kill(field: Field, case: Case, strikes: tuple[tuple[float, str, int], ...], at_once: bool) -> list[Row]:
    """Strike one call after the other at moments of it, given in parts of the undisturbed duration."""
    row = Row(case.group, "")
    name = case.needs[0]
    reference = field.references[name]
    with field.book(case.name, name) as book:
        for number, (part, target, signal_number) in enumerate(strikes):
            if number and not at_once:
                row.orphans += book.orphans()
            at_moment(book, reference, part * reference.seconds, target, signal_number, row)
        check_next(book, reference, row, at_once=at_once)
    return [row]


def aim(field: Field, case: Case, state: str, target: str, number: int) -> list[Row]:
    """Strike in a short state of the call."""
    row = Row(case.group, "")
    name = case.needs[0]
    reference = field.references[name]
    rebuilt = state == "html.old"
    with field.book(case.name, name, built=rebuilt) as book:
        at = book.built / reference.site
        if rebuilt:
            for mark in at.glob("made/site-*"):
                mark.unlink()
        patterns = {"memo": "../memo/.*part", "site mark": "html/index.html"}

        def there() -> bool:
            if state == "kernel":
                return bool(victims(book, KERNEL))
            return any(at.glob(patterns.get(state, state)))

        at_state(book, reference, there, target, number, row)
        row.when += f" (aimed at {state})"
        check_next(book, reference, row)
    return [row]


def alone(field: Field, case: Case, target: str, number: int) -> list[Row]:
    """Strike inside a long cell: what the struck process started must be gone before the cell would end."""
    row = Row(case.group, "")
    reference = field.references["toy"]
    with field.book(case.name, "toy") as book:
        in_cell = f"cell {LONG_CELL}"
        book.extra[WAIT] = str(_LONG)
        done = at_state(book, reference, lambda: book.state("tiny") == in_cell, target, number, row)
        row.orphans = book.orphans(_AT_ONCE)
        row.expect(done.code != 0, "the call was not stopped")
        went_on = any(not name.startswith("memo/") for name in book.kept())
        row.expect(not went_on, "the chapter went on to its end")
        del book.extra[WAIT]
        check_next(book, reference, row)
    return [row]


def between(field: Field, case: Case) -> list[Row]:
    """Lay out what a kill between the two moves of the swap leaves, and call."""
    row = Row(case.group, "the state that a kill between the two moves of the swap leaves", "swap")
    reference = field.references["tiny"]
    with field.book(case.name, "tiny", built=True) as book:
        at = book.built / reference.site
        (at / "html").rename(at / "html.old")
        for mark in at.glob("made/site-*"):
            mark.unlink()
        check_next(book, reference, row)
    return [row]


def cases(count: int, seed: int, *, short: bool) -> list[Case]:
    """List the kills of builds, runs and sweeps."""
    found = []
    for number, strike_of in enumerate(random_moments(count, seed, 1.0)):
        strikes = (strike_of,)
        if number % 8 == 7:
            again = random_moments(1, seed + number, 0.6)[0]
            strikes = (strike_of, again)
        found.append(
            Case(f"kill-{number:02d}", "kills of a build", kill, (strikes, number % 3 == 2), ("build",))
        )
    kill_number, term = int(signal.SIGKILL), int(signal.SIGTERM)
    aimed = [("site.part", COMMAND, kill_number), ("memo", KERNEL, kill_number)] if short else [
        ("src.part", COMMAND, kill_number), ("src.part", STEP, kill_number),
        ("site.part", COMMAND, kill_number), ("site.part", ALL, kill_number),
        ("site.part", STEP, kill_number), ("site.part/_build/html/index.html", STEP, term),
        ("html.old", ALL, kill_number), ("html.old", COMMAND, term),
        ("html.old", STEP, kill_number), ("site mark", ALL, kill_number),
        ("site mark", COMMAND, int(signal.SIGINT)), ("kernel", KERNEL, kill_number),
        ("memo", ALL, kill_number), ("memo", KERNEL, kill_number), ("executed/*.ipynb", ALL, kill_number),
        (".snakemake", COMMAND, term), (".lock", COMMAND, int(signal.SIGINT)),
    ]  # fmt: skip
    for number, (state, target, how) in enumerate(aimed):
        found.append(Case(f"aim-{number:02d}", "aimed kills", aim, (state, target, how)))
    lonely = [(COMMAND, kill_number)] if short else [
        (COMMAND, kill_number), (COMMAND, term), (ENGINE, kill_number), (CHAPTER, kill_number)
    ]  # fmt: skip
    for number, how_struck in enumerate(lonely):
        found.append(Case(f"alone-{number}", "kills in a long cell", alone, how_struck, ("toy",)))
    if short:
        return found
    found.append(Case("between", "aimed kills", between))
    for name in ("run", "sweep"):
        for number, strike_of in enumerate(random_moments(4, seed + 100 + len(name), 1.0)):
            found.append(Case(f"{name}-{number}", f"kills of a {name}", kill, ((strike_of,), False), (name,)))
    return found
