"""No network, kernels that die of themselves, and little memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from bookcopy import CHAPTER
from faults.call import wait_until
from faults.field import Case, Field
from faults.files import places
from faults.kills import KERNEL, check_next, compare, victims
from faults.table import Row

NETWORK, DEAD, MEMORY = "no network", "dead kernel", "exhausted memory"
_CGROUPS = Path("/sys/fs/cgroup")
_ADDRESSES = 2_000_000_000


def offline() -> tuple[str, ...]:
    """Words that start a command without any network interface; none where that is not allowed."""
    for words in (("unshare", "-n"), ("unshare", "-r", "-n")):
        if shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True).returncode:
            return words
    return ()


def no_data(field: Field, case: Case) -> list[Row]:
    """Ask for a data set that is nowhere, without a network."""
    before = offline()
    row = Row(NETWORK, "run dataset=mnist, which is nowhere", left_out="" if before else "no namespaces here")
    if row.left_out:
        return [row]
    if Path("/usr/share/datasets/mnist").exists():
        row.left_out = "this machine has MNIST from its distribution"
        return [row]
    with field.book(case.name, "real") as book:
        words = ("run", CHAPTER, "dataset=mnist", "--profile", "tiny")
        done = book.call(*words, before=before, **places(book, book.folder / "nothing"))
        row.code, row.said, row.seconds = done.code, done.said, done.seconds
        text = done.out + done.err
        row.expect(done.code == 1, f"exit code {done.code}")
        row.expect("Traceback" not in text, "a traceback was shown")
        row.expect(
            text.count("was not found. Looked here:") == 1, "not one message that tells where it looked"
        )
        row.expect("To provide the data" in text, "no advice")
        row.orphans = book.orphans()
        row.leftovers = book.parts()
    return [row]


def build_offline(field: Field, case: Case) -> list[Row]:
    """Build without a network."""
    before = offline()
    name = case.needs[0]
    row = Row(NETWORK, "a build from nothing", left_out="" if before else "no namespaces here")
    if row.left_out:
        return [row]
    with field.book(case.name, name) as book:
        done = book.call(*field.words(name), before=before)
        row.code, row.said, row.seconds = done.code, done.said, done.seconds
        row.expect(done.code == 0, f"exit code {done.code}")
        row.orphans = book.orphans()
        compare(book, field.references[name], row)
    return [row]


def dies(field: Field, case: Case, number: int, cell: int, says: str) -> list[Row]:
    """Let the kernel die of a signal in a cell."""
    row = Row(DEAD, f"the kernel dies of {signal.Signals(number).name}")
    reference = field.references["tiny"]
    with field.book(case.name) as book:
        running = book.start(*reference.words)
        reached = {f"cell {k}" for k in range(cell, 99)}
        row.expect(wait_until(lambda: book.state("tiny") in reached), "the cell was not reached")
        row.when = book.state("tiny")
        for process in victims(book, KERNEL):
            process.send_signal(number)
        done = running.end()
        row.code, row.said, row.seconds = done.code, done.said, done.seconds
        row.expect(done.code == 1, f"exit code {done.code}")
        row.expect(says in done.said, f"{says!r} is not in the message")
        row.expect("Traceback" not in done.out + done.err, "a traceback was shown")
        check_next(book, reference, row)
    return [row]


def hungry(field: Field, case: Case, how: str) -> list[Row]:
    """Ask for a network that does not fit, under a limit; then build within the same folder."""
    row = Row(MEMORY, f"run hidden=8192 networks=256, {how}")
    before = ("prlimit", f"--as={_ADDRESSES}")
    if how == "memory of the machine":
        group = make_group(field.folder.name)
        if group is None:
            row.left_out = "no control group can be made here"
            return [row]
        before = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    elif not shutil.which("prlimit"):
        row.left_out = "there is no prlimit here"
        return [row]
    reference = field.references["tiny"]
    with field.book(case.name) as book:
        words = ("run", CHAPTER, "hidden=8192", "networks=256", "epochs=1", "--profile", "tiny")
        done = book.start(*words, before=before).end(120)
        row.code, row.said, row.seconds = done.code, done.said, done.seconds
        text = done.out + done.err
        row.expect(done.code == 1, f"exit code {done.code}")
        row.expect("memory" in text, "memory is not named")
        row.expect("Traceback" not in text, "a traceback was shown")
        row.orphans = book.orphans()
        again = book.call(*reference.words)
        row.then = f"a build: exit {again.code}, {again.ran}"
        row.expect(again.code == 0, f"the next call ended with {again.code}: {again.said}")
        row.leftovers = book.parts()
    if how == "memory of the machine" and group is not None:
        os.rmdir(group)
    return [row]


def make_group(name: str) -> Path | None:
    """Make a control group with 900 MiB; None where that is not allowed."""
    for parent, limit in ((_CGROUPS, "memory.max"), (_CGROUPS / "memory", "memory.limit_in_bytes")):
        group = parent / name
        try:
            group.mkdir()
            # A plain folder has no such files.
            if (group / "cgroup.procs").exists():
                (group / limit).write_text(str(900 * 2**20))
                return group
        except OSError:
            pass
        if group.is_dir():
            group.rmdir()
    return None


def cases(*, short: bool) -> list[Case]:
    """List what is tried."""
    found = [Case("offline-data", NETWORK, no_data, (), ("real",))]
    if short:
        return found
    return [
        *found,
        Case("offline-build", NETWORK, build_offline, (), ("build",)),
        Case("kernel-segv", DEAD, dies, (int(signal.SIGSEGV), 5, "crashed (signal 11")),
        Case("kernel-kill", DEAD, dies, (int(signal.SIGKILL), 10, "was killed (SIGKILL)")),
        Case("kernel-abort", DEAD, dies, (int(signal.SIGABRT), 1, "crashed (signal 6")),
        Case("memory-limit", MEMORY, hungry, ("2 GB of addresses",)),
        Case("memory-group", MEMORY, hungry, ("memory of the machine",)),
    ]
