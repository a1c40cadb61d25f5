"""What is freed is kept for what comes next, and can be given back."""

import subprocess
import sys

import pytest

# Thirty times 64 MB, filled and freed, in a thread: how many pages the system had to hand out for the
# last ten, by which time the heap has settled, and how many can be given back in the end.
CODE = """
import resource, sys, threading
from sefa.malloc import give_back_memory, keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
import torch
def count():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults = []
def work():
    for _ in range(30):
        before = count()
        torch.ones(16, 2**20)
        faults.append(count() - before)
thread = threading.Thread(target=work)
thread.start(); thread.join()
def resident():
    return int(open("/proc/self/statm").read().split()[1])
held = resident()
give_back_memory()
print(kept, sum(faults[-10:]), held - resident())
"""


def run(mode: str) -> tuple[bool, int, int]:
    found = subprocess.run(
        [sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    return found[0] == "True", int(found[1]), int(found[2])


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's, and counted by Linux")
def test_freed_memory_is_used_again_and_can_be_given_back():
    kept, faults, given_back = run("keep")
    if not kept:
        pytest.skip("no glibc here")
    pages = 64 * 2**20 // 4096
    assert faults < pages  # where by default each of the ten asks anew
    assert given_back > 0.8 * pages
