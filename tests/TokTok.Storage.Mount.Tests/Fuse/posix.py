#!/usr/bin/env python3
"""Runs a battery of file operations in a folder and prints what each gave; two filesystems that print the same behave the same."""
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
root = sys.argv[1]
os.umask(0)
n = 0


def text(x):
    if isinstance(x, bytes):
        return repr(x) if len(x) < 80 else 'bytes(%d,%d)' % (len(x), sum(x))
    return repr(x)


def show(label, f, *a, **k):
    try:
        r = text(f(*a, **k))
    except OSError as e:
        r = errno.errorcode.get(e.errno, str(e.errno))
    print('%s: %s' % (label, r))


def as_user(uid, gid, f, groups=()):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(gid)
            os.setuid(uid)
            f()
            sys.stdout.flush()
        except BaseException as e:
            print('child', repr(e))
            sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def facts(p, follow=True):
    s = os.stat(p, follow_symlinks=follow)
    return '%o n%d u%d g%d s%s' % (s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size if not stat.S_ISDIR(s.st_mode) else '-')


def make(p, data=b'', mode=0o644):
    fd = os.open(p, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def opened(p, flags, mode=0o644):
    fd = os.open(p, flags, mode)
    os.close(fd)
    return 'ok'


def rename2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return 'ok'


def link_open(fd, to):
    if libc.linkat(-100, b'/proc/self/fd/%d' % fd, -100, os.fsencode(to), 1024) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return 'ok'


def new():
    global n
    n += 1
    d = os.path.join(root, 'd%d' % n)
    os.mkdir(d, 0o755)
    os.chdir(d)
    return d


def times(p):
    s = os.stat(p, follow_symlinks=False)
    return (s.st_atime_ns, s.st_mtime_ns)


def tick():
    time.sleep(0.012)


def moves(p, f, label):
    s = os.stat(p, follow_symlinks=False)
    b = (s.st_ctime_ns, s.st_mtime_ns)
    tick()
    try:
        f()
        r = 'ok'
    except OSError as e:
        r = errno.errorcode[e.errno]
    s = os.stat(p, follow_symlinks=False)
    print('%s: %s ctime %s mtime %s' % (label, r, 'moved' if s.st_ctime_ns > b[0] else 'same', 'moved' if s.st_mtime_ns > b[1] else 'same'))


def names():
    """Names: how long, of which bytes, dots, slashes."""
    new()
    for L in (255, 256):
        show('mkdir %d' % L, lambda: os.mkdir('a' * L))
        show('create %d' % L, lambda: opened('b' * L, os.O_CREAT | os.O_RDWR))
        show('symlink %d' % L, os.symlink, 'x', 'c' * L)
        show('mkfifo %d' % L, os.mkfifo, 'd' * L)
        show('link %d' % L, os.link, 'b' * 255, 'e' * L)
        show('stat %d' % L, lambda: facts('f' * L))
        show('unlink %d' % L, os.unlink, 'g' * L)
        show('rmdir %d' % L, os.rmdir, 'h' * L)
        show('rename to %d' % L, os.rename, 'b' * 255 if L == 256 else 'e' * 255, 'i' * L)
        show('open %d' % L, opened, 'j' * L, os.O_RDONLY)
        show('chmod %d' % L, os.chmod, 'k' * L, 0o600)
        show('truncate %d' % L, os.truncate, 'l' * L, 3)
    for L in (4094, 4095, 4096):
        show('symlink target %d' % L, os.symlink, 't' * L, 's%d' % L)
        show('readlink %d' % L, lambda: len(os.readlink('s%d' % L)))
    show('empty symlink', os.symlink, '', 'es')
    for nm in (b'\xff\xfe', b'a\nb', b'a\\b', b' ', b'-rf', b'.hidden', b'...', 'ü☃'.encode()):
        show('odd %r' % nm, lambda: os.mkdir(nm))
    show('list', lambda: len(os.listdir(b'.')))
    show('case', lambda: (os.mkdir('Case'), os.mkdir('case'), 'both')[2])
    p = os.path.join(*['y' * 200] * 25)
    show('path too long', lambda: os.stat(p))
    for q in ('.', '..', './.', '/'.join(['.'] * 5)):
        show('mkdir %s' % q, os.mkdir, q)
        show('rmdir %s' % q, os.rmdir, q)
        show('unlink %s' % q, os.unlink, q)
    make('f')
    os.mkdir('dd')
    show('trailing slash file', lambda: facts('f/'))
    show('open f/', opened, 'f/', os.O_RDONLY)
    show('mkdir new/', os.mkdir, 'new/')
    show('create new2/', opened, 'new2/', os.O_CREAT | os.O_WRONLY)
    show('rename dd/. x', os.rename, 'dd/.', 'x')
    show('rename dd dd/x', os.rename, 'dd', 'dd/x')
    show('f/x', lambda: facts('f/x'))
    show('unlink f/x', os.unlink, 'f/x')
    show('mkdir f/x', os.mkdir, 'f/x')
    show('rename f/x y', os.rename, 'f/x', 'y')
    show('rename f f/x', os.rename, 'f', 'f/x')
    show('link f f/x', os.link, 'f', 'f/x')
    show('symlink a f/x', os.symlink, 'a', 'f/x')


def renames():
    """rename and renameat2: every kind of file over every other; link counts, times, files and directories that were open."""
    new()

    def setup():
        os.system('rm -rf *')
        make('file', b'file')
        make('file2', b'file2')
        os.mkdir('dir')
        os.mkdir('dir2')
        os.mkdir('full')
        make('full/x')
        os.symlink('file', 'sl')
        os.symlink('dir', 'sd')
        os.symlink('none', 'dang')
        os.mkfifo('fifo')
        os.link('file', 'hard')
    for a in ('file', 'dir', 'full', 'sl', 'sd', 'fifo', 'none', 'hard', 'dang'):
        for b in ('file', 'dir2', 'full', 'sl', 'sd', 'dang', 'fifo', 'hard', 'new', 'none/x', 'file/x', a, 'dir/', 'new/'):
            setup()
            show('rename %s %s' % (a, b), os.rename, a, b)
            print('   ', sorted(os.listdir('.')), os.stat('file', follow_symlinks=False).st_nlink if os.path.lexists('file') else '-')
            for fl in (1, 2, 3):
                setup()
                show('rename2(%d) %s %s' % (fl, a, b), rename2, a, b, fl)
                print('   ', sorted(os.listdir('.')))
    setup()
    show('into itself', os.rename, 'full', 'full/y')
    show('deep itself', lambda: (os.makedirs('q/w/e'), os.rename('q', 'q/w/e/r')))
    show('exchange with parent', rename2, 'q', 'q/w', 2)
    show('exchange child', rename2, 'q/w', 'q', 2)
    show('over nonempty parent', os.rename, 'q/w/e', 'q')
    setup()
    i = os.stat('file').st_ino
    os.rename('file', 'moved')
    print('ino kept', os.stat('moved').st_ino == i)
    os.makedirs('A/s')
    os.mkdir('B')
    print(os.stat('A').st_nlink, os.stat('B').st_nlink)
    os.rename('A/s', 'B/s')
    print(os.stat('A').st_nlink, os.stat('B').st_nlink, os.stat('B/s/..').st_ino == os.stat('B').st_ino)
    rename2('A', 'B/s', 2)
    print(os.stat('A').st_nlink, os.stat('B').st_nlink, os.stat('B/s/..').st_ino == os.stat('B').st_ino, sorted(os.listdir('B')))
    make('B/f')
    os.mkdir('C')
    rename2('B/f', 'C', 2)
    print(os.stat('.').st_nlink, os.stat('B').st_nlink, facts('C'), facts('B/f'))
    setup()
    moves('file', lambda: os.rename('file', 'zz') or os.link('zz', 'file'), 'rename+link file')
    for x, y in (('dir', 'dir9'),):
        s = os.stat('.')
        tick()
        os.rename(x, y)
        s2 = os.stat('.')
        print('parent mtime', s2.st_mtime_ns > s.st_mtime_ns, s2.st_ctime_ns > s.st_ctime_ns)
    make('v', b'victim')
    fd = os.open('v', os.O_RDWR)
    make('w', b'winner')
    os.rename('w', 'v')
    print(os.read(fd, 10), os.fstat(fd).st_nlink, open('v', 'rb').read())
    os.write(fd, b'xx')
    print(os.fstat(fd).st_size)
    os.close(fd)
    os.mkdir('od')
    fd = os.open('od', os.O_RDONLY)
    os.rmdir('od')
    show('fstat removed dir', lambda: os.fstat(fd).st_nlink)
    show('listdir removed', lambda: os.listdir(fd))
    show('create in removed', lambda: os.open('x', os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    show('mkdir in removed', lambda: os.mkdir('x', dir_fd=fd))
    os.close(fd)
    os.mkdir('cw')
    os.chdir('cw')
    os.rmdir('../cw')
    show('getcwd', os.getcwd)
    show('open . in removed', lambda: os.listdir('.'))
    show('mk in removed cwd', lambda: opened('q', os.O_CREAT | os.O_WRONLY))
    show('.. of removed', lambda: facts('..') and 'ok')
    os.chdir(root)


def opens():
    """open: flags, what they open; O_TMPFILE, O_APPEND, chains of symlinks, sockets."""
    new()
    make('f', b'12345')
    os.mkdir('d')
    os.symlink('f', 'sl')
    os.symlink('nowhere', 'dang')
    os.symlink('loop', 'loop')
    os.symlink('b', 'a')
    os.symlink('a', 'b')
    os.mkfifo('fifo')
    C, X, T, W, R, RW, A, N, D, NB = (os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_WRONLY, os.O_RDONLY, os.O_RDWR, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_NONBLOCK)
    for p in ('f', 'd', 'sl', 'dang2', 'loop', 'a', 'none', 'none/x', 'f/x', 'fifo', 'loop/x'):
        for nm, fl in dict(R=R, W=W | NB, RW=RW, CX=C | X | W, C=C | RW, T=T | W | NB, RT=R | T | NB, N=N | R | NB, D=D | R, DN=D | N, CD=C | D, NT=N | W | T | NB).items():
            if p == 'fifo' and nm not in ('CX', 'N', 'W', 'NT', 'D'):
                continue
            if p == 'none' and 'C' in nm:
                continue
            show('open %s %s' % (p, nm), opened, p, fl)
        if os.path.exists('f'):
            print('   size', os.stat('f').st_size)
            make('f', b'12345')
    show('create through dangling', opened, 'dang', C | W)
    print(sorted(os.listdir('.')))
    show('excl through dangling', lambda: (os.symlink('nw2', 'dg2'), opened('dg2', C | X | W)))
    show('O_PATH', lambda: os.close(os.open('f', os.O_PATH)))
    show('tmpfile', lambda: opened('.', os.O_TMPFILE | RW, 0o600))
    show('tmpfile RO', lambda: opened('.', os.O_TMPFILE | R, 0o600))
    show('tmpfile in file', lambda: opened('f', os.O_TMPFILE | RW, 0o600))
    fd = os.open('.', os.O_TMPFILE | RW, 0o640)
    os.write(fd, b'hello')
    print(os.fstat(fd).st_nlink)
    show('linkat tmpfile', lambda: link_open(fd, 'named'))
    show('stat', facts, 'named')
    os.write(fd, b'more')
    os.close(fd)
    show('read named', lambda: open('named', 'rb').read())
    fd = os.open('.', os.O_TMPFILE | RW | X, 0o640)
    show('linkat excl tmpfile', lambda: link_open(fd, 'named2'))
    os.close(fd)
    fd = os.open('f', R)
    show('write on ro', os.write, fd, b'x')
    show('ftruncate ro', os.ftruncate, fd, 1)
    os.close(fd)
    fd = os.open('f', W)
    show('read on wo', os.read, fd, 1)
    os.close(fd)
    fd = os.open('d', R)
    show('read dir', os.read, fd, 1)
    show('ftruncate dir', os.ftruncate, fd, 1)
    show('fsync dir', os.fsync, fd)
    os.close(fd)
    show('truncate dir', os.truncate, 'd', 0)
    show('truncate neg', os.truncate, 'f', -1)
    show('truncate fifo', os.truncate, 'fifo', 0)
    show('truncate loop', os.truncate, 'loop', 0)
    fd = os.open('f', RW | A)
    os.write(fd, b'A')
    os.lseek(fd, 0, 0)
    os.write(fd, b'B')
    print(open('f', 'rb').read())
    show('pwrite append', os.pwrite, fd, b'Z', 0)
    print(open('f', 'rb').read())
    os.close(fd)
    fd1 = os.open('f', W | A)
    fd2 = os.open('f', W | A)
    for i in range(20):
        os.write(fd1, b'1')
        os.write(fd2, b'2')
    print(len(open('f', 'rb').read()))
    os.close(fd1)
    os.close(fd2)
    show('unlink dir', os.unlink, 'd')
    show('rmdir file', os.rmdir, 'f')
    show('rmdir sl', os.rmdir, 'sl')
    os.mkdir('d/x')
    show('rmdir full', os.rmdir, 'd')
    for i in (39, 40, 41):
        os.system('rm -f c*')
        make('c0')
        for k in range(i):
            os.symlink('c%d' % k, 'c%d' % (k + 1))
        show('chain %d' % i, lambda: open('c%d' % i).close())
    show('lseek past', lambda: (lambda fd: (os.lseek(fd, 1000, 0), os.read(fd, 5)))(os.open('f', R)))
    show('pread neg', lambda: os.pread(os.open('f', R), 5, -1))
    s = socket.socket(socket.AF_UNIX)
    show('bind', s.bind, 'sock')
    show('stat sock', facts, 'sock')
    show('open sock', opened, 'sock', R)
    show('bind again', socket.socket(socket.AF_UNIX).bind, 'sock')
    s.listen(1)
    c = socket.socket(socket.AF_UNIX)
    show('connect', c.connect, 'sock')


def nodes():
    """mknod."""
    new()
    for nm, m in dict(reg=stat.S_IFREG, none=0, fifo=stat.S_IFIFO, chr=stat.S_IFCHR, blk=stat.S_IFBLK, sock=stat.S_IFSOCK, dir=stat.S_IFDIR, lnk=stat.S_IFLNK, bad=0o130000).items():
        show('mknod %s' % nm, os.mknod, nm, m | 0o640, os.makedev(259, 70000))
        show('stat', lambda: (facts(nm), os.major(os.stat(nm).st_rdev), os.minor(os.stat(nm).st_rdev)))
        show('mknod again %s' % nm, os.mknod, nm, m | 0o640, 0)
    as_user(1000, 1000, lambda: (show('user mknod chr', os.mknod, 'x', stat.S_IFCHR | 0o600, 0),))


def links():
    """link and unlink: counts, times, files without a name."""
    new()
    make('f', b'x')
    os.mkdir('d')
    os.symlink('f', 's')
    os.mkfifo('p')
    show('link dir', os.link, 'd', 'd2')
    show('link', os.link, 'f', 'f2')
    print(facts('f'), facts('f2'), os.stat('f').st_ino == os.stat('f2').st_ino)
    show('again', os.link, 'f', 'f2')
    show('link sym', lambda: os.link('s', 's2', follow_symlinks=False))
    print(facts('s2', False))
    show('link sym follow', lambda: os.link('s', 's3', follow_symlinks=True))
    print(facts('s3', False))
    show('fifo', os.link, 'p', 'p2')
    print(facts('p2'))
    show('none', os.link, 'none', 'x')
    show('to none/x', os.link, 'f', 'none/x')
    show('over dir', os.link, 'f', 'd')
    os.chmod('f', 0o600)
    print(facts('f2'))
    os.unlink('f')
    print(facts('f2'))
    make('f2', b'longer')
    print(facts('f2'))
    fd = os.open('f2', os.O_RDWR)
    os.unlink('f2')
    os.unlink('s3')
    print(os.fstat(fd).st_nlink)
    show('write unlinked', os.write, fd, b'zzz')
    show('fchmod unlinked', os.fchmod, fd, 0o600)
    show('ftruncate unlinked', os.ftruncate, fd, 100)
    print(os.fstat(fd).st_size)
    show('fsync unlinked', os.fsync, fd)
    show('link back', lambda: link_open(fd, 'back'))
    os.close(fd)
    moves('p', lambda: os.link('p', 'p9'), 'link')
    moves('p', lambda: os.unlink('p9'), 'unlink')
    moves('.', lambda: make('n1'), 'create parent')
    moves('.', lambda: os.unlink('n1'), 'unlink parent')
    moves('.', lambda: os.mkdir('n2'), 'mkdir parent')
    moves('.', lambda: os.rmdir('n2'), 'rmdir parent')
    moves('.', lambda: os.symlink('a', 'n3'), 'symlink parent')
    moves('.', lambda: os.mkfifo('n4'), 'fifo parent')
    moves('.', lambda: os.link('p', 'n5'), 'link parent')
    moves('.', lambda: os.unlink('nothing'), 'failed unlink')
    moves('.', lambda: os.mkdir('d'), 'failed mkdir')
    for i in range(5):
        os.mkdir('d/%d' % i)
    print(facts('d'), facts('.'))
    make('d/f')
    print(facts('d'))
    os.rmdir('d/0')
    print(facts('d'))


def attributes():
    """chmod, chown, times, truncate, fallocate."""
    new()
    make('f', b'12345')
    os.mkdir('d')
    os.symlink('f', 's')
    for m in (0, 0o7777, 0o4755, 0o2755, 0o1755, 0o644):
        show('chmod %o' % m, os.chmod, 'f', m)
        print(facts('f'))
        show('chmod dir %o' % m, os.chmod, 'd', m)
        print(facts('d'))
    show('chmod sym', os.chmod, 's', 0o611)
    print(facts('f'), facts('s', False))
    show('lchown', lambda: os.lchown('s', 5, 6))
    print(facts('s', False), facts('f'))
    show('chown follow', os.chown, 's', 7, 8)
    print(facts('f'))
    for u, g in ((-1, -1), (-1, 9), (10, -1), (65534, 65534), (2 ** 32 - 2, 2 ** 32 - 2), (0, 0)):
        show('chown %d %d' % (u, g), os.chown, 'f', u, g)
        print(facts('f'))
    for m in (0o6755, 0o6644, 0o2745, 0o2755):
        os.chmod('f', m)
        os.chown('f', 3, 3)
        print('root chown drops', facts('f'))
        os.chmod('f', m)
        os.chown('f', -1, -1)
        print('noop chown', facts('f'))
    os.chmod('d', 0o6755)
    os.chown('d', 3, 3)
    print('dir', facts('d'))
    moves('f', lambda: os.chmod('f', 0o600), 'chmod')
    moves('f', lambda: os.chown('f', 1, 1), 'chown')
    moves('f', lambda: os.chown('f', -1, -1), 'chown -1')
    moves('f', lambda: os.utime('f', ns=(1, 2)), 'utime')
    moves('f', lambda: os.truncate('f', 5), 'truncate same')
    moves('f', lambda: os.truncate('f', 6), 'truncate')
    moves('f', lambda: os.setxattr('f', 'user.a', b'b'), 'setxattr')
    moves('f', lambda: os.removexattr('f', 'user.a'), 'removexattr')
    moves('f', lambda: os.removexattr('f', 'user.a'), 'removexattr none')
    moves('f', lambda: opened('f', os.O_WRONLY | os.O_TRUNC), 'open trunc')
    moves('f', lambda: opened('f', os.O_WRONLY | os.O_TRUNC), 'open trunc empty')

    def wr():
        fd = os.open('f', os.O_WRONLY)
        os.write(fd, b'abc')
        os.close(fd)
    moves('f', wr, 'write')

    def w0():
        fd = os.open('f', os.O_WRONLY)
        os.write(fd, b'')
        os.close(fd)
    moves('f', w0, 'write 0')
    moves('f', lambda: opened('f', os.O_RDONLY), 'open')

    def falloc(mode, off, ln):
        fd = os.open('f', os.O_RDWR)
        try:
            if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(ln)) != 0:
                e = ctypes.get_errno()
                raise OSError(e, '')
        finally:
            os.close(fd)
        return os.stat('f').st_size
    moves('f', lambda: falloc(3, 0, 2), 'punch')
    moves('f', lambda: falloc(0, 0, 20), 'falloc')
    moves('f', lambda: falloc(16, 0, 20), 'zero')
    for m in (0, 1, 2, 3, 8, 16, 17, 32, 64, 128):
        if m in (8, 32, 64):
            continue
        for off, ln in ((0, 10), (100, 50), (5, 0), (-1, 5), (0, -1), (1 << 62, 1 << 62)):
            show('fallocate %d %d %d' % (m, off, ln), falloc, m, off, ln)
            print(os.stat('f').st_size)
    make('g', b'g')
    moves('g', lambda: os.copy_file_range(os.open('f', 0), os.open('g', os.O_WRONLY), 4), 'copy_file_range')
    for a in (0, 1, 10 ** 9 - 1, -1, -10 ** 9, -10 ** 9 - 1, 1 << 62, 4102444800 * 10 ** 9 + 7, 2 ** 31 * 10 ** 9, (2 ** 34 - 2) * 10 ** 9):
        show('utime %d' % a, lambda: (os.utime('f', ns=(a, a + 1)), times('f'))[1])
    show('utime sym', lambda: (os.utime('s', ns=(5, 6), follow_symlinks=False), times('s'))[1])

    def utn(p, a, m):
        ts = struct.pack('4q', 9, a, 8, m)
        if libc.utimensat(-100, p.encode(), ts, 0) != 0:
            e = ctypes.get_errno()
            raise OSError(e, '')
        s = os.stat(p)
        now = time.time()
        return tuple(('now' if abs(x / 1000000000.0 - now) < 5 else x for x in (s.st_atime_ns, s.st_mtime_ns)))
    NOW, OMIT = ((1 << 30) - 1, (1 << 30) - 2)
    for a in (NOW, OMIT, 5, 10 ** 9, -1):
        for m in (NOW, OMIT, 5, 10 ** 9):
            show('utimensat %d %d' % (a, m), utn, 'f', a, m)
    moves('f', lambda: utn('f', OMIT, OMIT), 'omit omit')
    show('omit none', utn, 'none', OMIT, OMIT)
    make('h', b'x' * 10000)
    os.truncate('h', 5000)
    os.truncate('h', 9000)
    d = open('h', 'rb').read()
    print(len(d), d[:5000] == b'x' * 5000, d[5000:] == bytes(4000))
    show('big', os.truncate, 'h', 1 << 40)
    print(os.stat('h').st_size, os.stat('h').st_blocks < 100)
    show('shrink', os.truncate, 'h', 0)
    print(os.stat('h').st_blocks)


def permissions():
    """Three callers and what each of them may do."""
    d = new()
    os.chmod('.', 0o755)
    make('mine', b'data')
    os.chown('mine', 1000, 1000)
    os.chmod('mine', 0o640)
    make('root', b'r', 0o600)
    os.mkdir('priv', 0o700)
    make('priv/in')
    os.mkdir('open', 0o777)
    os.mkdir('sticky', 0o1777)
    make('sticky/root')
    make('sticky/u1')
    os.chown('sticky/u1', 1000, 1000)
    os.mkdir('sticky/d1')
    os.chown('sticky/d1', 1000, 1000)
    os.mkdir('owned', 0o1777)
    os.chown('owned', 1000, 1000)
    make('owned/root')
    make('owned/u2')
    os.chown('owned/u2', 2000, 2000)
    make('noread', b'', 0o222)
    make('ro', b'', 0o444)
    os.mkdir('nosearch', 0o666)
    make('nosearch/f')
    os.mkdir('noread_d', 0o711)
    make('noread_d/f')
    os.mkdir('nowrite', 0o555)
    make('nowrite/f', b'', 0o666)
    make('suid', b'x')
    os.chown('suid', 1000, 1000)
    os.chmod('suid', 0o6777)
    make('grp', b'x')
    os.chown('grp', 2000, 3000)
    os.chmod('grp', 0o060)
    os.mkdir('sg', 0o2777)
    os.chown('sg', 0, 4000)
    os.chmod('sg', 0o2777)
    make('ex', b'#!/bin/sh\n', 0o755)

    def user():
        me = os.getuid()
        for p in ('mine', 'root', 'priv/in', 'noread', 'ro', 'nosearch/f', 'noread_d/f', 'nowrite/f', 'suid', 'grp'):
            show('%d open r %s' % (me, p), opened, p, os.O_RDONLY)
            show('%d open w %s' % (me, p), opened, p, os.O_WRONLY)
            show('%d chmod %s' % (me, p), os.chmod, p, os.stat(p).st_mode & 0o7777 if os.access(p, os.F_OK) else 0o600)
            show('%d chown0 %s' % (me, p), os.chown, p, 0, -1)
            show('%d chown-self %s' % (me, p), os.chown, p, me, -1)
            show('%d chgrp %s' % (me, p), os.chown, p, -1, 3000)
            show('%d chgrp own %s' % (me, p), os.chown, p, -1, os.getgid())
            show('%d utime now %s' % (me, p), os.utime, p)
            show('%d utime set %s' % (me, p), os.utime, p, (1, 1))
            show('%d truncate %s' % (me, p), os.truncate, p, 3)
            show('%d access %s' % (me, p), lambda: [os.access(p, x) for x in (0, 1, 2, 4, 6)])
            show('%d stat %s' % (me, p), facts, p)
            show('%d xattr %s' % (me, p), lambda: os.setxattr(p, 'user.q', b'1'))
            show('%d trusted %s' % (me, p), lambda: os.setxattr(p, 'trusted.q', b'1'))
            show('%d getx %s' % (me, p), lambda: os.getxattr(p, 'user.q'))
        for p in ('.', 'priv', 'open', 'sticky', 'owned', 'nosearch', 'noread_d', 'nowrite', 'sg'):
            q = p + '/by%d' % me
            show('%d list %s' % (me, p), lambda: len(os.listdir(p)) > -1)
            show('%d create %s' % (me, p), opened, q, os.O_CREAT | os.O_WRONLY, 0o666)
            show('%d mkdir %s' % (me, p), os.mkdir, q + 'd')
            show('%d symlink %s' % (me, p), os.symlink, 'x', q + 's')
            show('%d mkfifo %s' % (me, p), os.mkfifo, q + 'p')
            show('%d rename in %s' % (me, p), os.rename, q, q + 'r')
            show('%d st %s' % (me, p), facts, q + 'r')
            show('%d std %s' % (me, p), facts, q + 'd')
            show('%d link %s' % (me, p), os.link, q + 'r', q + 'l')
            show('%d unlink %s' % (me, p), os.unlink, q + 'r')
            show('%d rmdir %s' % (me, p), os.rmdir, q + 'd')
        for p in ('sticky/root', 'sticky/u1', 'sticky/d1', 'owned/root', 'owned/u2'):
            show('%d sticky rename %s' % (me, p), os.rename, p, p + '_')
            show('%d sticky unlink %s' % (me, p), os.unlink if not p.endswith('d1') else os.rmdir, p)
            show('%d rename away %s' % (me, p), os.rename, p, 'open/%s' % os.path.basename(p))
            make('open/m%d' % me)
            show('%d rename over %s' % (me, p), os.rename, 'open/m%d' % me, p)
        show('%d sg file' % me, lambda: (make('sg/n%d' % me, b'', 0o2775), facts('sg/n%d' % me))[1])
        show('%d sg dir' % me, lambda: (os.mkdir('sg/d%d' % me, 0o755), facts('sg/d%d' % me))[1])
        show('%d sg chmod' % me, lambda: (os.chmod('sg/n%d' % me, 0o2775), facts('sg/n%d' % me))[1])
        show('%d write suid' % me, lambda: (lambda fd: (os.write(fd, b'zz'), os.close(fd), facts('suid'))[2])(os.open('suid', os.O_WRONLY)))
        show('%d exec' % me, lambda: os.access('ex', os.X_OK))
        show('%d link root' % me, os.link, 'ro', 'open/lr%d' % me)
        show('%d linkat suid' % me, os.link, 'suid', 'open/ls%d' % me)
        show('%d rename dir not writable' % me, os.rename, 'nowrite', 'open/nw')
        show('%d removex' % me, os.removexattr, 'mine', 'user.q')
    as_user(1000, 1000, user)
    as_user(2000, 2000, user, groups=(3000,))
    as_user(3, 1000, user)
    os.chmod('suid', 0o6777)
    as_user(1000, 1000, lambda: show('trunc suid', lambda: (os.truncate('suid', 1), facts('suid'))[1]))
    os.chmod('suid', 0o6777)
    as_user(2000, 2000, lambda: show('O_TRUNC suid', lambda: (opened('suid', os.O_WRONLY | os.O_TRUNC), facts('suid'))[1]))
    os.chmod('suid', 0o6777)
    as_user(2000, 2000, lambda: show('fallocate suid', lambda: (os.posix_fallocate(os.open('suid', os.O_WRONLY), 0, 100), facts('suid'))[1]))
    os.chmod('suid', 0o6777)

    def cp():
        fd = os.open('suid', os.O_RDWR)
        os.copy_file_range(os.open('ex', 0), fd, 3)
        return facts('suid')
    as_user(2000, 2000, lambda: show('copy_range suid', cp))
    os.chmod('suid', 0o6767)
    as_user(2000, 2000, lambda: show('write suid no gx', lambda: (os.write(os.open('suid', os.O_WRONLY), b'a'), facts('suid'))[1]))
    os.chmod('suid', 0o6777)
    as_user(1000, 1000, lambda: show('chgrp own drops', lambda: (os.chown('suid', -1, 1000), facts('suid'))[1]))
    os.mkdir('nx', 0o000)
    as_user(1000, 1000, lambda: (show('cd nx', os.chdir, 'nx'), show('ls nx', os.listdir, 'nx'), show('st nx', facts, 'nx'), show('stat nx/x', lambda: facts('nx/x'))))
    os.chmod(d, 0o700)
    as_user(1000, 1000, lambda: show('via closed parent', lambda: facts(d + '/mine')))
    os.chmod(d, 0o755)


def xattrs():
    """Extended attributes."""
    new()
    make('f')
    os.mkdir('d')
    os.symlink('f', 's')
    os.mkfifo('p')
    for p in ('f', 'd', 's', 'p'):
        for nm in ('user.a', 'user.' + 'n' * 250, 'user.' + 'n' * 251, 'trusted.x', 'security.foo', 'user.', 'bad', 'system.foo', '', 'x' * 256):
            show('setx %s %s' % (p, nm[:20]), lambda: os.setxattr(p, nm, b'v', follow_symlinks=False))
            show('getx', lambda: os.getxattr(p, nm, follow_symlinks=False))
            show('rmx', lambda: os.removexattr(p, nm, follow_symlinks=False))
    show('create', lambda: os.setxattr('f', 'user.c', b'1', os.XATTR_CREATE))
    show('create again', lambda: os.setxattr('f', 'user.c', b'2', os.XATTR_CREATE))
    show('replace', lambda: os.setxattr('f', 'user.c', b'3', os.XATTR_REPLACE))
    show('replace none', lambda: os.setxattr('f', 'user.d', b'3', os.XATTR_REPLACE))
    show('empty', lambda: (os.setxattr('f', 'user.e', b''), os.getxattr('f', 'user.e')))
    show('list', lambda: sorted(os.listxattr('f')))
    show('get none', os.getxattr, 'f', 'user.none')
    show('1k', lambda: (os.setxattr('f', 'user.k', b'k' * 1000), len(os.getxattr('f', 'user.k'))))
    show('64k+1', lambda: os.setxattr('f', 'user.big', b'k' * 65537))
    os.link('f', 'f2')
    show('by link', os.getxattr, 'f2', 'user.c')
    b = ctypes.create_string_buffer(4)

    def g(sz):
        r = libc.getxattr(b'f', b'user.k', b if sz else None, sz)
        return r if r >= 0 else errno.errorcode[ctypes.get_errno()]
    show('short', g, 4)
    show('ask', g, 0)

    def l(sz):
        r = libc.listxattr(b'f', b if sz else None, sz)
        return r if r >= 0 else errno.errorcode[ctypes.get_errno()]
    show('list short', l, 4)
    show('acl get', lambda: os.getxattr('f', 'system.posix_acl_access'))


def acls():
    """Access control lists: kept, enforced, following the mode and followed by it, inherited."""
    new()
    os.chmod('.', 0o755)
    access, default = ('system.posix_acl_access', 'system.posix_acl_default')
    tags = dict(u=1, U=2, g=4, G=8, m=16, o=32)

    def acl(spec):
        """'u7 U1000:6 g5 G3000:4 m7 o0'"""
        out = struct.pack('<I', 2)
        for word in spec.split():
            perm, number = word[1:].split(':')[::-1] if ':' in word else (word[1:], 0xffffffff)
            out += struct.pack('<HHI', tags[word[0]], int(perm), int(number))
        return out

    def said(p, name):
        try:
            b = os.getxattr(p, name, follow_symlinks=False)
        except OSError as e:
            return errno.errorcode[e.errno]
        kinds = {v: k for k, v in tags.items()}
        return ' '.join((kinds[t] + ('%d:%d' % (i, q) if kinds[t] in 'UG' else '%d' % q) for t, q, i in struct.iter_unpack('<HHI', b[4:])))

    def look(p):
        return (facts(p, False), said(p, access), said(p, default), sorted(os.listxattr(p, follow_symlinks=False)))

    make('f', b'data', 0o640)
    os.mkdir('d', 0o750)
    os.symlink('f', 's')
    specs = ('u6 g4 o0', 'u7 U1000:6 g5 m7 o0', 'u6 U1000:7 g0 m4 o0', 'u6 g6 G3000:2 m3 o1', 'u6 g4 m6 o0', 'u0 U1:7 U2:7 g0 G1:7 G2:7 m0 o0', 'u7 g7 o7', 'u6 g5 U1000:6 m7 o0', 'u6 U1000:6 g5 o0', 'u6 g4', 'u9 g4 o0', 'u6 U5:1 U5:2 g4 m7 o4', '')
    for spec in specs:
        for p, name in (('f', access), ('d', access), ('d', default), ('f', default)):
            show('set %s %s %s' % (p, name[-7:], spec), lambda: os.setxattr(p, name, acl(spec)))
            show('    is', look, p)
            for m in (0o640, 0o4777, 0o070, 0):
                show('    chmod %o' % m, lambda: (os.chmod(p, m), look(p))[1])
            os.chmod(p, 0o640)
    show('on a symlink', lambda: os.setxattr('s', access, acl(specs[1]), follow_symlinks=False))
    show('through a symlink', lambda: (os.setxattr('s', access, acl(specs[1])), look('f'))[1])
    show('garbage', lambda: os.setxattr('f', access, b'garbage'))
    show('another version', lambda: os.setxattr('f', access, struct.pack('<I', 3)))
    show('other name', lambda: os.setxattr('f', 'system.posix_acl_other', acl(specs[1])))
    os.chown('f', 1000, 3000)
    show('after chown', look, 'f')
    os.rename('f', 'f9')
    show('after rename', look, 'f9')
    moves('f9', lambda: os.setxattr('f9', access, acl('u6 U1000:6 g5 m6 o0')), 'set acl')
    moves('f9', lambda: os.chmod('f9', 0o600), 'chmod')
    show('remove', lambda: (os.removexattr('f9', access), look('f9'))[1])
    show('remove again', lambda: os.removexattr('f9', access))
    show('remove default', lambda: (os.removexattr('d', default), look('d'))[1])
    show('remove default again', lambda: os.removexattr('d', default))

    # who may: read by name, by group, cut down by the mask
    make('shared', b'secret', 0o600)
    os.setxattr('shared', access, acl('u6 U1000:6 U2000:4 g0 G3000:2 m6 o0'))
    os.mkdir('room', 0o700)
    os.setxattr('room', access, acl('u7 U1000:7 U2000:5 g0 m7 o0'))
    make('room/f', b'x', 0o666)

    def may():
        me = os.getuid()
        for p in ('shared', 'room/f'):
            show('%d read %s' % (me, p), opened, p, os.O_RDONLY)
            show('%d write %s' % (me, p), opened, p, os.O_WRONLY)
            show('%d both %s' % (me, p), opened, p, os.O_RDWR)
            show('%d access %s' % (me, p), lambda: [os.access(p, x) for x in (0, 1, 2, 4, 6)])
            show('%d chmod %s' % (me, p), os.chmod, p, 0o600)
            show('%d setacl %s' % (me, p), lambda: os.setxattr(p, access, acl('u7 g7 o7')))
            show('%d getacl %s' % (me, p), said, p, access)
        show('%d list' % me, lambda: sorted(os.listdir('room')))
        show('%d make' % me, opened, 'room/by%d' % me, os.O_CREAT | os.O_WRONLY, 0o644)
        show('%d remove' % me, os.unlink, 'room/by%d' % me)
    for mask in (0o7, 0o6, 0o4, 0o0):
        os.chmod('shared', 0o600 | mask << 3)
        os.chmod('room', 0o700 | mask << 3)
        print('mask', mask, look('shared'), look('room'))
        as_user(1000, 1000, may)
        as_user(2000, 2000, may, groups=(3000,))
        as_user(4000, 3000, may)
    os.removexattr('shared', access)
    os.chmod('shared', 0o600)
    as_user(1000, 1000, may)

    # what is made in a directory with a default list
    k = 0
    for spec in ('u7 g5 o0', 'u7 U1000:7 g5 m7 o5', 'u6 g4 G3000:6 m6 o0', 'u7 U1000:7 g7 m5 o7', 'u0 U1:7 g0 m7 o0'):
        for mask in (0, 0o022, 0o077):
            for bits in (0o755, 0o2775):
                k += 1
                p = 'in%d' % k
                os.umask(0)
                os.mkdir(p)
                os.chown(p, 0, 4000)
                os.chmod(p, bits)
                os.setxattr(p, default, acl(spec))
                os.umask(mask)
                print('in', spec, '%o %o' % (mask, bits))
                for m in (0o666, 0o640, 0o4777, 0):
                    show('  create %o' % m, lambda: (opened('%s/c%o' % (p, m), os.O_CREAT | os.O_WRONLY, m), look('%s/c%o' % (p, m)))[1])
                    show('  mkdir %o' % m, lambda: (os.mkdir('%s/d%o' % (p, m), m), look('%s/d%o' % (p, m)))[1])
                show('  below', lambda: (os.mkdir(p + '/d666/e', 0o777), look(p + '/d666/e'))[1])
                show('  fifo', lambda: (os.mkfifo(p + '/p', 0o666), look(p + '/p'))[1])
                show('  mknod', lambda: (os.mknod(p + '/n', 0o664), look(p + '/n'))[1])
                show('  symlink', lambda: (os.symlink('x', p + '/s'), facts(p + '/s', False))[1])
                show('  socket', lambda: (socket.socket(socket.AF_UNIX).bind(p + '/k'), look(p + '/k'))[1])
                fd = os.open(p, os.O_TMPFILE | os.O_RDWR, 0o664)
                show('  tmpfile', lambda: (link_open(fd, p + '/t'), look(p + '/t'))[1])
                os.close(fd)
                os.link(p + '/t', p + '/t2')
                show('  moved in', lambda: (make('mover', b'', 0o644), os.rename('mover', p + '/mover'), look(p + '/mover'))[2])
    os.umask(0o027)
    os.mkdir('plain')
    show('umask', lambda: (opened('plain/f', os.O_CREAT | os.O_WRONLY, 0o666), os.mkdir('plain/d', 0o777), os.mknod('plain/n', 0o666), facts('plain'), facts('plain/f'), facts('plain/d'), facts('plain/n')))
    fd = os.open('plain', os.O_TMPFILE | os.O_RDWR, 0o666)
    show('umask tmpfile', lambda: (link_open(fd, 'plain/t'), facts('plain/t'))[1])
    os.close(fd)
    os.umask(0)

    # set-group-id and lists
    make('sg', b'', 0o755)
    os.chown('sg', 1000, 4000)
    os.chmod('sg', 0o2755)
    as_user(1000, 1000, lambda: show('acl of a stranger to the group', lambda: (os.setxattr('sg', access, acl('u7 U2000:7 g5 m7 o5')), look('sg'))[1]))
    os.chmod('sg', 0o2755)
    as_user(1000, 4000, lambda: show('acl of a member', lambda: (os.setxattr('sg', access, acl('u7 U2000:7 g5 m7 o5')), look('sg'))[1]))
    as_user(0, 0, lambda: show('acl of root', lambda: (os.setxattr('sg', access, acl('u7 U2000:5 g5 m5 o5')), look('sg'))[1]))
    os.chmod('sg', 0o6755)
    as_user(2000, 2000, lambda: show('write', lambda: (os.write(os.open('sg', os.O_WRONLY), b'a'), look('sg'))[1]))
    make('big')
    show('many entries', lambda: os.setxattr('big', access, acl('u7 %s g7 m7 o7' % ' '.join(('U%d:7' % i for i in range(1, 400))))))
    show('too many entries', lambda: (os.setxattr('big', access, acl('u7 %s g7 m7 o7' % ' '.join(('U%d:7' % i for i in range(1, 9000))))), 'ok')[1])


def data():
    """Reading and writing: holes, maps, vectors, O_DIRECT, copy_file_range, locks, syncs."""
    new()

    def pat(n, s):
        return bytes((i * 7 + s & 255 for i in range(n)))
    fd = os.open('f', os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, pat(5000, 1), 0)
    os.pwrite(fd, pat(100, 2), 1 << 20)
    print(os.fstat(fd).st_size)
    for o in (0, 10, 4999, 5000, 8192, 100000, (1 << 20) - 1, 1 << 20, (1 << 20) + 99, (1 << 20) + 100, 1 << 30):
        show('read at %d' % o, lambda: os.pread(fd, 5, o))
        show('data %d' % o, lambda: os.lseek(fd, o, os.SEEK_DATA) // 4096)
        show('hole %d' % o, lambda: (os.lseek(fd, o, os.SEEK_HOLE) + 4095) // 4096)
    show('seek data neg', lambda: os.lseek(fd, -1, os.SEEK_DATA))
    m = mmap.mmap(fd, 1 << 20)
    m[4990:5010] = b'M' * 20
    m[1 << 19] = 5
    print(os.pread(fd, 20, 4990), os.pread(fd, 2, 1 << 19))
    m.flush()
    os.pwrite(fd, b'W', 4995)
    print(m[4990:5000])
    m.close()
    print(os.pread(fd, 20, 4990))
    os.ftruncate(fd, 4993)
    os.ftruncate(fd, 6000)
    print(os.pread(fd, 30, 4985))
    show('readv', lambda: os.preadv(fd, [bytearray(3), bytearray(4000), bytearray(3000)], 0))
    show('writev', lambda: os.pwritev(fd, [b'a' * 10, b'b' * 5000, b'c'], 3))
    print(os.fstat(fd).st_size, os.pread(fd, 20, 0))
    show('writes at huge', lambda: os.pwrite(fd, b'x', 1 << 43))
    print(os.fstat(fd).st_size)
    os.ftruncate(fd, 100)
    show('dio', lambda: (lambda d: (mapped(d), os.close(d))[0])(os.open('dio', os.O_CREAT | os.O_RDWR | os.O_DIRECT)))
    g = os.open('g', os.O_CREAT | os.O_RDWR)
    show('cfr', lambda: os.copy_file_range(fd, g, 100, 0, 50))
    print(os.pread(g, 8, 50))
    show('cfr self overlap', lambda: os.copy_file_range(fd, fd, 50, 0, 10))
    show('cfr self', lambda: os.copy_file_range(fd, fd, 10, 0, 50))
    show('cfr past end', lambda: os.copy_file_range(fd, g, 100, 1000, 0))
    show('cfr wo', lambda: os.copy_file_range(os.open('g', os.O_WRONLY), g, 1))
    show('cfr ro', lambda: os.copy_file_range(fd, os.open('g', 0), 1))
    show('cfr app', lambda: os.copy_file_range(fd, os.open('g', os.O_WRONLY | os.O_APPEND), 1))
    show('cfr dir', lambda: os.copy_file_range(os.open('.', 0), g, 1))
    show('sendfile', lambda: os.sendfile(g, fd, 0, 10))
    show('flock', lambda: fcntl.flock(fd, fcntl.LOCK_EX))
    h = os.open('f', os.O_RDWR)
    show('flock nb', lambda: fcntl.flock(h, fcntl.LOCK_EX | fcntl.LOCK_NB))
    show('un', lambda: fcntl.flock(fd, fcntl.LOCK_UN))
    show('flock2', lambda: fcntl.flock(h, fcntl.LOCK_EX | fcntl.LOCK_NB))
    show('lockf', lambda: fcntl.lockf(h, fcntl.LOCK_EX, 10, 0))
    sys.stdout.flush()
    as_user(0, 0, lambda: (show('child lockf', lambda: fcntl.lockf(os.open('f', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)), show('child lockf free', lambda: fcntl.lockf(os.open('f', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 50))))
    show('sync', os.fsync, fd)
    show('fdatasync', os.fdatasync, fd)
    show('syncfs', lambda: libc.syncfs(fd))
    show('sync_file_range', lambda: libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7))
    show('fadvise', lambda: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED))
    print(os.pread(fd, 20, 0))
    show('statvfs', lambda: (os.statvfs('.').f_namemax, os.statvfs('.').f_bsize))
    show('FIGETBSZ ioctl', lambda: fcntl.ioctl(fd, 21523, b'0' * 8))


def mapped(d):
    m = mmap.mmap(-1, 8192)
    m[:] = b'd' * 8192
    r = os.pwrite(d, m, 4096)
    b = mmap.mmap(-1, 12288)
    q = os.preadv(d, [b], 0)
    return (r, q, b[4095:4097])


def directories():
    """Listing a directory that changes meanwhile."""
    new()
    os.mkdir('d')
    for i in range(1000):
        make('d/%d' % i)
    seen = []
    with os.scandir('d') as it:
        for e in it:
            seen.append(e.name)
            os.unlink('d/' + e.name)
    print(len(seen), len(set(seen)), len(os.listdir('d')))
    for i in range(1000):
        make('d/%d' % i)
    fd = os.open('d', os.O_RDONLY)
    a = sorted(os.listdir(fd))
    make('d/new')
    os.unlink('d/5')
    b = sorted(os.listdir(fd))
    print(len(a), len(b), 'new' in b, '5' in b)
    os.close(fd)
    k = 0
    names = []
    with os.scandir('d') as it:
        for e in it:
            names.append(e.name)
            if k < 2000:
                make('d/z%d' % k)
                k += 1
    print(len(set(names)) >= 1000, len(names) == len(set(names)))
    with os.scandir('d') as it:
        print(all((e.inode() == os.stat('d/' + e.name).st_ino and e.is_file(follow_symlinks=False) for e in it)))
    os.makedirs('x/y/z')
    print(os.stat('x/y/..').st_ino == os.stat('x').st_ino, os.stat('x').st_nlink)
    print(sorted((e.name for e in os.scandir('x'))), facts('d'))
names()
renames()
opens()
nodes()
links()
attributes()
permissions()
xattrs()
acls()
data()
directories()
