#!/usr/bin/env python3
"""fsx: random operations on one file, each compared with a model in memory. fsx.py FILE SEED OPERATIONS"""
import ctypes
import mmap
import os
import random
import sys

libc = ctypes.CDLL(None, use_errno=True)
path, seed, count = (sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
LIMIT = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 20
r = random.Random(seed)
fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
model = bytearray()
log = []
junk = r.randbytes(LIMIT + 4096)


def fail(why):
    print('seed', seed, why)
    for i, l in log[-40:]:
        print(i, l)
    sys.exit(1)


def fallocate(mode, off, ln):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(ln)) != 0:
        raise OSError(ctypes.get_errno(), 'fallocate')


def grow(n):
    if len(model) < n:
        model.extend(bytes(n - len(model)))


def span(limit=LIMIT):
    kind = r.random()
    ln = r.randrange(1, 200) if kind < 0.3 else r.randrange(1, 20000) if kind < 0.9 else r.randrange(1, LIMIT // 3)
    off = r.randrange(0, max(1, limit - ln))
    if r.random() < 0.2:
        off &= ~4095
    return (off, min(ln, limit - off))


def compare(off, ln, got):
    want = bytes(model[off:off + ln])
    if got != want:
        at = next((i for i in range(min(len(got), len(want))) if got[i] != want[i]), min(len(got), len(want)))
        fail('read of %d at %d: %d bytes, expected %d; first difference at %d: %r, expected %r' % (ln, off, len(got), len(want), off + at, got[at:at + 8], want[at:at + 8]))
for i in range(count):
    op = r.choices(['write', 'read', 'trunc', 'mapw', 'mapr', 'punch', 'zero', 'zerok', 'alloc', 'copy', 'fsync', 'reopen', 'append', 'seek', 'stat', 'drop', 'direct'], [20, 20, 5, 8, 6, 5, 3, 2, 2, 4, 0.3, 1, 3, 2, 3, 1, 1])[0]
    off, ln = span()
    log.append((i, (op, off, ln)))
    log = log[-60:]
    data = junk[r.randrange(4000):][:ln]
    if op == 'write':
        if os.pwrite(fd, data, off) != ln:
            fail('short write')
        grow(off)
        model[off:off + ln] = data
    elif op == 'append':
        data = data[:5000]
        if len(model) + len(data) <= LIMIT:
            f2 = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.write(f2, data)
            os.close(f2)
            model += data
    elif op == 'read':
        compare(off, ln, os.pread(fd, ln, off))
    elif op == 'trunc':
        n = r.choice([off, off, off, 0, len(model)]) if r.random() < 0.5 else min(LIMIT, len(model) + r.randrange(9000))
        log.append((i, n))
        os.ftruncate(fd, n)
        if n < len(model):
            del model[n:]
        else:
            grow(n)
    elif op in ('mapw', 'mapr'):
        if off >= len(model):
            continue
        ln = min(ln, len(model) - off)
        base = off & ~4095
        m = mmap.mmap(fd, off + ln - base, offset=base)
        if op == 'mapr':
            compare(off, ln, m[off - base:off - base + ln])
        else:
            m[off - base:off - base + ln] = data[:ln]
            model[off:off + ln] = data[:ln]
            if r.random() < 0.3:
                m.flush()
        m.close()
    elif op == 'punch':
        fallocate(3, off, ln)
        e = min(off + ln, len(model))
        if e > off:
            model[off:e] = bytes(e - off)
    elif op == 'zero':
        fallocate(16, off, ln)
        grow(off + ln)
        model[off:off + ln] = bytes(ln)
    elif op == 'zerok':
        fallocate(17, off, ln)
        e = min(off + ln, len(model))
        if e > off:
            model[off:e] = bytes(e - off)
    elif op == 'alloc':
        fallocate(0, off, ln)
        grow(off + ln)
    elif op == 'copy':
        to = r.randrange(0, LIMIT - ln + 1)
        if off >= len(model):
            continue
        ln = min(ln, len(model) - off)
        if not (to + ln <= off or off + ln <= to):
            continue
        log.append((i, ('to', to, ln)))
        n = os.copy_file_range(fd, fd, ln, off, to)
        if n != ln:
            fail('copied %d' % n)
        part = bytes(model[off:off + ln])
        grow(to)
        model[to:to + ln] = part
    elif op == 'fsync':
        (os.fsync if r.random() < 0.5 else os.fdatasync)(fd)
    elif op == 'reopen':
        os.close(fd)
        fd = os.open(path, os.O_RDWR)
    elif op == 'seek':
        try:
            d = os.lseek(fd, off, os.SEEK_DATA)
        except OSError:
            d = max(off, len(model))
        if any(model[off:d]):
            fail('SEEK_DATA at %d said %d over data' % (off, d))
        if off < len(model):
            h = os.lseek(fd, off, os.SEEK_HOLE)
            if h > len(model) or h < off:
                fail('SEEK_HOLE at %d said %d' % (off, h))
            if h < len(model):
                h2 = h
                e = min(len(model), h + 4096)
                try:
                    e = os.lseek(fd, h, os.SEEK_DATA)
                except OSError:
                    e = len(model)
                if any(model[h:e]):
                    fail('SEEK_HOLE at %d said %d, data there' % (off, h))
    elif op == 'stat':
        if os.fstat(fd).st_size != len(model):
            fail('size %d, expected %d' % (os.fstat(fd).st_size, len(model)))
    elif op == 'drop':
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    elif op == 'direct':
        try:
            f2 = os.open(path, os.O_RDWR | os.O_DIRECT)
        except OSError:
            continue
        b = mmap.mmap(-1, 8192)
        base = off & ~4095
        if r.random() < 0.5 and base + 8192 <= LIMIT:
            b[:] = junk[:8192]
            os.pwrite(f2, b, base)
            grow(base)
            model[base:base + 8192] = junk[:8192]
        else:
            n = os.preadv(f2, [b], base)
            compare(base, 8192, b[:n])
        os.close(f2)
    if i % 2000 == 1999:
        compare(0, LIMIT, os.pread(fd, LIMIT, 0))
compare(0, LIMIT, os.pread(fd, LIMIT, 0))
os.close(fd)
f = open(path, 'rb').read()
if f != bytes(model):
    fail('the end')
