#!/usr/bin/env python3
"""Random operations in a folder, by path and by open file, of three users: prints what each gave and, at the end, all that is there.

model.py FOLDER SEED COUNT   the same seed does the same; two filesystems that print the same behave the same
model.py FOLDER inodes       the inode of every name
"""
import errno
import hashlib
import mmap
import os
import random
import stat
import struct
import sys

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
root = os.path.abspath(sys.argv[1])
os.chdir(root)
LIMIT = 120000
ACCESS, DEFAULT = ('system.posix_acl_access', 'system.posix_acl_default')
USERS = ((0, 0, ()), (1000, 1000, ()), (2000, 2000, (3000,)))


def all_names():
    for at, directories, files in os.walk(b'.'):
        directories.sort()
        for name in sorted(directories + files):
            yield os.path.join(at, name)


if sys.argv[2] == 'inodes':
    for path in all_names():
        s = os.lstat(path)
        print(path, s.st_ino, s.st_nlink, oct(s.st_mode))
    sys.exit(0)

r = random.Random(int(sys.argv[2]))
os.makedirs('top/work', exist_ok=True)
os.chdir('top/work')  # ".." leads to the same
slots = [None] * 5


def called(f, *a):
    ctypes.set_errno(0)
    if f(*a) != 0:
        raise OSError(ctypes.get_errno(), '')
    return 'ok'


def facts(s):
    kind = stat.S_IFMT(s.st_mode)
    when = '-' if kind == stat.S_IFIFO else s.st_mtime_ns if s.st_mtime_ns < 10 ** 18 else 'now'  # FUSE does not hear of bytes that go through a fifo
    return '%o n%d u%d g%d s%s t%s' % (s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size if kind != stat.S_IFDIR else '-', when)


def name():
    return r.choice('abcde') if r.random() < 0.97 else r.choice(('x' * 255, 'x' * 256, '.', '..', 'ü☃', ' '))


def path():
    p = '/'.join((name() for _ in range(r.choice((1, 1, 1, 2, 2, 3)))))
    return p + '/' if r.random() < 0.02 else p


def permissions():
    return r.choice((0o777, 0o755, 0o700, 0o644, 0o666, 0o600, 0o640, 0o070, 0o007, 0o1777, 0o4755, 0o711, 0o444, r.randrange(0o1000)))


def acl():
    everybody = [(1, r.randrange(8), 0xffffffff)]
    users = sorted((i, r.randrange(8)) for i in r.sample((1000, 2000, 5), r.randrange(3)))
    groups = sorted((i, r.randrange(8)) for i in r.sample((1000, 3000, 5), r.randrange(3)))
    everybody += [(2, p, i) for i, p in users] + [(4, r.randrange(8), 0xffffffff)] + [(8, p, i) for i, p in groups]
    if users or groups or r.random() < 0.3:
        everybody.append((16, r.randrange(8), 0xffffffff))
    everybody.append((32, r.randrange(8), 0xffffffff))
    if r.random() < 0.03:
        del everybody[r.randrange(len(everybody))]
    return struct.pack('<I', 2) + b''.join((struct.pack('<HHI', *e) for e in everybody))


def is_directory(p):
    try:
        return stat.S_ISDIR(os.stat(p).st_mode)
    except OSError:
        return False


def data():
    return r.randbytes(r.choice((0, 1, 10, 100, 4096, 5000, 20000)))


def opened(p, flags, m, spare):
    fd = os.open(p, flags | os.O_NONBLOCK, m)
    at = next((i for i, one in enumerate(slots) if one is None), spare)
    if slots[at] is not None:
        os.close(slots[at])
    slots[at] = fd
    return at


def close(at):
    os.close(slots[at])
    slots[at] = None
    return 'ok'


def xattr_name():
    return r.choice(('user.one', 'user.two', 'trusted.three', 'security.four'))


def mapped(fd, off, bytes_):
    s = os.fstat(fd)
    size = s.st_size
    if size == 0 or not stat.S_ISREG(s.st_mode):
        return 'nothing to map'
    off = min(off, size - 1)
    bytes_ = bytes_[:size - off]
    base = off & ~4095
    with mmap.mmap(fd, off + len(bytes_) - base or 1, offset=base) as m:
        m[off - base:off - base + len(bytes_)] = bytes_
    return len(bytes_)


def operation():
    """The operation's name and arguments, and what does it. Everything random is drawn before it runs."""
    p, q, m, bytes_, off, ln, at = (path(), path(), permissions(), data(), r.randrange(LIMIT), r.randrange(1, 20000), r.randrange(len(slots)))
    fd, fd2 = (slots[at], slots[r.randrange(len(slots))])
    what = r.choices(*zip(*WEIGHTS))[0]
    if fd is None and what.startswith('f:') or fd2 is None and what == 'f:copy':
        what = 'open'
    C, X, W, R, RW, T, A, N = (os.O_CREAT, os.O_EXCL, os.O_WRONLY, os.O_RDONLY, os.O_RDWR, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW)
    flags = r.choice((R, W, RW, C | RW, C | RW, C | X | RW, C | W | T, RW | T, RW | A, C | W | A, R | N, os.O_DIRECTORY, os.O_PATH))
    when = (r.randrange(10 ** 18), r.randrange(10 ** 18))
    who = (r.choice((-1, 0, 1000, 2000)), r.choice((0, 1000, 2000, 3000)))
    number = r.randrange(1 << 30)
    x, list_, where = (xattr_name(), acl(), r.choice((ACCESS, DEFAULT)))
    how = r.choice((0, os.XATTR_CREATE, os.XATTR_REPLACE))
    falloc = r.choice((0, 1, 3, 16, 17))
    return what, {
        'open': ('%s %o %o' % (p, flags, m), lambda: opened(p, flags, m, at)),
        'temporary': ('%s %o' % (p, m), lambda: opened(p, os.O_TMPFILE | RW, m, at)),
        'close': (at, lambda: close(at) if fd is not None else 'none'),
        'mkdir': ('%s %o' % (p, m), lambda: os.mkdir(p, m)),
        'mkfifo': (p, lambda: os.mkfifo(p, m & 0o777)),
        'mknod': (p, lambda: os.mknod(p, r_kind(number) | m & 0o777)),
        'symlink': ((q, p), lambda: os.symlink(q, p)),
        'readlink': (p, lambda: os.readlink(p)),
        'link': ((p, q), lambda: os.link(p, q, follow_symlinks=number % 2 == 0)),
        'unlink': (p, lambda: os.unlink(p)),
        'rmdir': (p, lambda: os.rmdir(p)),
        'rename': ((p, q), lambda: os.rename(p, q)),
        'rename2': ((p, q, number % 3), lambda: called(libc.renameat2, -100, os.fsencode(p), -100, os.fsencode(q), number % 3)),
        'chmod': ('%s %o' % (p, m), lambda: os.chmod(p, tidy_mode(p, m, number))),
        'chown': ((p, who), lambda: os.chown(p, *who, follow_symlinks=number % 2 == 0)),
        'utime': ((p, when), lambda: os.utime(p, ns=when, follow_symlinks=number % 2 == 0)),
        'truncate': ((p, off), lambda: os.truncate(p, off)),
        'stat': (p, lambda: facts(os.stat(p))),
        'lstat': (p, lambda: facts(os.lstat(p))),
        'list': (p, lambda: sorted(('%s %d%d' % (e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(p)))),
        'setxattr': ((p, x, min(150, len(bytes_)), how), lambda: os.setxattr(p, x, bytes_[:150], how, follow_symlinks=number % 2 == 0)),
        'getxattr': ((p, x), lambda: hashlib.sha1(os.getxattr(p, x)).hexdigest()),
        'listxattr': (p, lambda: sorted(os.listxattr(p))),
        'removexattr': ((p, x), lambda: os.removexattr(p, x)),
        'setacl': ((p, where, list_.hex()), lambda: os.setxattr(p, where, list_)),
        'getacl': ((p, where), lambda: os.getxattr(p, where).hex()),
        'removeacl': ((p, where), lambda: os.removexattr(p, where)),
        'f:read': ((at, off, ln), lambda: hashlib.sha1(os.pread(fd, ln, off)).hexdigest()),
        'f:write': ((at, off, len(bytes_)), lambda: os.pwrite(fd, bytes_, off)),
        'f:map': ((at, off, len(bytes_)), lambda: mapped(fd, off, bytes_)),
        'f:append': ((at, len(bytes_)), lambda: os.write(fd, bytes_) if os.fstat(fd).st_size < LIMIT else 'long'),
        'f:truncate': ((at, off), lambda: os.ftruncate(fd, off)),
        'f:allocate': ((at, falloc, off, ln), lambda: called(libc.fallocate, fd, falloc, ctypes.c_long(off), ctypes.c_long(ln))),
        'f:copy': ((at, off, ln), lambda: os.copy_file_range(fd, fd2, ln, off // 2, off)),
        'f:stat': (at, lambda: facts(os.fstat(fd))),
        'f:sync': (at, lambda: os.fsync(fd)),
        'f:chmod': (at, lambda: os.fchmod(fd, m & ~0o2000)),
        'f:link': ((at, p), lambda: called(libc.linkat, -100, b'/proc/self/fd/%d' % fd, -100, os.fsencode(p), 1024)),
    }[what]


def r_kind(number):
    return (stat.S_IFREG, stat.S_IFSOCK, stat.S_IFIFO)[number % 3]


def tidy_mode(p, m, number):
    """Set-group-id without the group's execute permission says something else, and each system does as it likes: files here never have it."""
    return m | (number % 5 == 0) * 0o2000 if is_directory(p) else m


WEIGHTS = [('open', 14), ('temporary', 1), ('close', 4), ('mkdir', 8), ('mkfifo', 1), ('mknod', 2), ('symlink', 3), ('readlink', 1), ('link', 5), ('unlink', 5), ('rmdir', 2), ('rename', 7),
           ('rename2', 4), ('chmod', 6), ('chown', 3), ('utime', 2), ('truncate', 3), ('stat', 4), ('lstat', 4), ('list', 4), ('setxattr', 3), ('getxattr', 1), ('listxattr', 1), ('removexattr', 1),
           ('setacl', 3), ('getacl', 2), ('removeacl', 1), ('f:read', 6), ('f:write', 9), ('f:map', 2), ('f:append', 4), ('f:truncate', 3), ('f:allocate', 3), ('f:copy', 3), ('f:stat', 4), ('f:sync', 1),
           ('f:chmod', 1), ('f:link', 2)]


def become(uid, gid, groups):
    os.seteuid(0)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


for step in range(int(sys.argv[3])):
    user = r.choices(USERS, (6, 2, 2))[0]
    mask = r.choice((0, 0o022, 0o077))
    what, (said, does) = operation()
    os.umask(mask)
    become(*user)
    try:
        result = does()
    except OSError as e:
        result = errno.errorcode.get(e.errno, e.errno)
    except OverflowError:
        result = 'overflow'
    become(*USERS[0])
    print(step, 'u%d' % user[0], '%o' % mask, what, said, '->', result)
for at, fd in enumerate(slots):
    if fd is not None:
        os.close(fd)
os.chdir(root)
for p in all_names():
    s = os.lstat(p)
    print(p, facts(s), [(x, hashlib.sha1(os.getxattr(p, x, follow_symlinks=False)).hexdigest()[:8]) for x in sorted(os.listxattr(p, follow_symlinks=False))], end=' ')
    if stat.S_ISREG(s.st_mode):
        print(hashlib.sha1(open(p, 'rb').read()).hexdigest())
    else:
        print(os.readlink(p) if stat.S_ISLNK(s.st_mode) else '')
