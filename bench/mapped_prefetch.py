#!/usr/bin/env python3
"""What asking for the next layer's pages ahead is worth: a file is read layer by layer through a mapping, with so many
seconds of work after each, from a cold and from a warm cache of the system, with and without MADV_WILLNEED for the next.

usage: bench/mapped_prefetch.py [LAYERS=20] [MB=54] [SECONDS=0.15]     the file lies in TMPDIR and is removed
"""
import mmap
import os
import sys
import tempfile
import time


def read_through(path, layers, size, seconds, ahead, cold):
    """Seconds in all, and of them those spent waiting for pages."""
    with open(path, "rb") as file:
        if cold:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), layers * size, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as pages:
            waiting, start = 0.0, time.monotonic()
            for layer in range(layers):
                before = time.monotonic()
                if ahead and layer + 1 < layers:
                    pages.madvise(mmap.MADV_WILLNEED, (layer + 1) * size, size)
                sum(pages[layer * size:(layer + 1) * size:mmap.PAGESIZE])  # touches each page
                waiting += time.monotonic() - before
                work = time.monotonic() + seconds
                while time.monotonic() < work:
                    pass
            return time.monotonic() - start, waiting


def main():
    layers, megabytes, seconds = (float(a) for a in (sys.argv[1:] + ["20", "54", "0.15"][len(sys.argv) - 1:]))
    layers, size = int(layers), int(megabytes) << 20
    with tempfile.NamedTemporaryFile(prefix="snell-prefetch-") as file:
        for _ in range(layers):
            file.write(os.urandom(1 << 20) * (size >> 20))
        file.flush()
        os.fsync(file.fileno())
        for cold in (True, False):
            for ahead in (False, True):
                total, waiting = read_through(file.name, layers, size, seconds, ahead, cold)
                print(f"{'cold' if cold else 'warm'} cache, {'asked for ahead' if ahead else 'touched only':15}  "
                      f"{total:6.2f} s, of which waiting {waiting:6.3f} s", flush=True)


if __name__ == "__main__":
    main()
