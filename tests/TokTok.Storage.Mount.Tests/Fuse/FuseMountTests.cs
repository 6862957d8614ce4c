using System.Diagnostics;
using TokTok.Storage.Files;
using TokTok.Storage.Mount.Fuse;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Mount.Tests.Fuse;

/// <summary>A mount of the real kernel. Skipped where there is no /dev/fuse, or no right to mount.</summary>
public sealed class FuseMountTests
{
    [Fact]
    public async Task A_tree_that_is_copied_in_comes_back_the_same_after_a_remount()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        string source = Path.Join(drive.Folder, "source");
        SampleTree.Create(source, 7, 200);
        // Paths of more than 4 KiB are more than cp can name: it gets ten folders of the deep path.
        _ = await drive.ShellAsync("(cd \"$FOLDER/source/special\"; for i in $(seq 10); do cd dddd*; done; rm -r dddd*); cp -a \"$FOLDER/source\" .; cp -a source again; rm -r again");
        await drive.RemountAsync();
        _ = await drive.ShellAsync("cp -a source \"$FOLDER/back\"");
        Assert.Empty(new TreeCompare { IgnoreSockets = true }.Run(source, Path.Join(drive.Folder, "back")));
    }

    [Fact]
    public async Task Files_are_written_by_many_ways_and_read_back()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        string text = await drive.ShellAsync("""
            head -c 5000000 /dev/urandom > "$FOLDER/r"
            dd if="$FOLDER/r" of=big bs=1M conv=fsync status=none
            dd if="$FOLDER/r" of=small bs=999 status=none
            dd if="$FOLDER/r" of=direct bs=1M oflag=direct iflag=fullblock count=4 status=none
            cmp big "$FOLDER/r"; cmp small "$FOLDER/r"; cmp -n 4194304 direct "$FOLDER/r"
            echo one > log; for i in 1 2 3; do echo $i >> log; done; cat log
            truncate -s 3 log; cat log; truncate -s 10 log; stat -c %s log
            cp --reflink=never big copy; cmp big copy
            sync -f . || true; sync log
            """);
        Assert.Equal("one\n1\n2\n3\none10\n", text);
    }

    [Fact]
    public async Task Names_move_and_open_files_outlive_them()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        string text = await drive.ShellAsync("""
            mkdir -p a/b; echo inner > a/b/f; mv a/b/f a/g; mv a c; cat c/g
            echo kept > open; exec 5<>open; rm open; cat <&5; echo more >&5; cat /proc/self/fd/5; exec 5>&-
            ln c/g link; stat -c %h link c/g; [ "$(stat -c %i link)" = "$(stat -c %i c/g)" ]
            ln -s c/g soft; cat soft; readlink soft
            mkfifo fifo; stat -c %F fifo; rmdir c/b
            if mkdir c 2>/dev/null; then exit 9; fi
            echo replaced > new; mv new link; cat link; stat -c %h c/g
            chmod 640 c/g; chown 12:34 c/g; stat -c '%a %u %g' c/g; touch -d @5 c/g; stat -c %Y c/g
            """);
        Assert.Equal("inner\nkept\nkept\nmore\n2\n2\ninner\nc/g\nfifo\nreplaced\n1\n640 12 34\n5\n", text);
    }

    [Fact]
    public async Task A_directory_of_thousands_is_listed_whole_and_removed()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        string text = await drive.ShellAsync("mkdir d; cd d; seq 3000 | xargs touch; ls | wc -l; ls -l | wc -l; ls -U | sort -n | cmp - <(seq 3000); cd ..; rm -r d; ls -A | wc -l");
        Assert.Equal("3000\n3001\n0\n", text);
    }

    [Fact]
    public async Task Many_processes_work_at_once()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        string text = await drive.ShellAsync("""
            for p in 1 2 3 4 5 6; do
              ( mkdir p$p; for i in $(seq 60); do echo $p.$i > p$p/$i; mv p$p/$i p$p/x$i; done; cat p$p/x* | wc -l ) &
            done
            wait
            """);
        Assert.Equal("60\n60\n60\n60\n60\n60\n", text);
    }

    [Fact]
    public async Task A_repository_is_cloned_into_it_and_is_whole()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        _ = await drive.ShellAsync("""
            export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
            mkdir -p "$FOLDER/origin"; cd "$FOLDER/origin"; git init -q .; for i in $(seq 50); do seq $i 500 > f$i; done; git add .; git commit -qm one
            cd "$POINT"; git clone -q "$FOLDER/origin" clone; git clone -q clone second; cd second; git gc -q; git fsck --strict; [ -z "$(git status --porcelain)" ]
            """);
    }

    [Fact]
    public async Task What_changes_behind_the_mount_is_seen_there_before_the_kernel_would_forget()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        Assert.Equal("one\n", await drive.ShellAsync("echo one > f; echo gone > g; cat f; stat g new >/dev/null 2>&1 || true; ls > /dev/null"));
        ActiveTree tree = drive.Tree;
        var somebody = new FileCaller(0, 0);
        Assert.Equal(FileError.None, tree.Lookup(tree.RootId, "f"u8, out InodeAttributes file));
        Assert.Equal(FileError.None, tree.Open(somebody, file.FileId, OpenOptions.Write, out ulong handle));
        Assert.Equal(FileError.None, tree.Write(handle, 0, "two, longer\n"u8, WriteOptions.None, out _));
        Assert.Equal(FileError.None, tree.Release(handle));
        Assert.Equal(FileError.None, tree.Unlink(somebody, tree.RootId, "g"u8));
        Assert.Equal(FileError.None, tree.MakeDirectory(somebody, tree.RootId, "new"u8, 0x1ed, out InodeAttributes made));
        tree.Forget(file.FileId, 1);
        tree.Forget(made.FileId, 1);
        Assert.Equal("two, longer\nf\nnew\n", await drive.ShellAsync(
            """
            for i in $(seq 100); do [ "$(cat f)" = "two, longer" ] && [ ! -e g ] && [ -d new ] && break; sleep 0.1; done
            [ $i -lt 100 ]; [ ! -e g ]; [ -d new ]; cat f; ls
            """));
    }

    [Fact]
    public async Task What_a_read_here_and_there_left_in_memory_the_kernel_gets_unless_somebody_may_write()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        _ = await drive.ShellAsync("random() { python3 -c \"import random, sys; sys.stdout.buffer.write(random.Random($1).randbytes($2))\"; }; random 3 8000001 > \"$FOLDER/r\"; cp \"$FOLDER/r\" f; cp \"$FOLDER/r\" g; random 4 4000000 > h");
        await drive.RemountAsync();
        await RunScriptAsync(drive, """
            import ctypes, os, time
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
            libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
            page = 4096
            original = open(os.environ['FOLDER'] + '/r', 'rb').read()
            def resident(fd):
                size = os.fstat(fd).st_size
                at = libc.mmap(None, size, 1, 1, fd, 0)
                pages = ctypes.create_string_buffer((size + page - 1) // page)
                assert libc.mincore(at, size, pages) == 0, ctypes.get_errno()
                libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
                return [i for i, b in enumerate(pages.raw) if b & 1]
            def read(fd, offset):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                return os.pread(fd, page, offset)
            def read_and_wait(fd, offset):
                before = len(resident(fd))
                found = read(fd, offset)
                for _ in range(400):
                    if len(resident(fd)) > before + 8: return found
                    time.sleep(0.05)
                assert False, (offset, before, len(resident(fd)))

            f = os.open('f', os.O_RDONLY)
            for offset in (5000 * 256, len(original) // page * page, 3 << 20):
                assert read_and_wait(f, offset) == original[offset:offset + page]
                for i in resident(f): # from the kernel's memory
                    assert os.pread(f, page, i * page) == original[i * page:(i + 1) * page], i
            assert os.fstat(f).st_size == len(original)

            # Somebody has it open to write. What is given of another file afterwards comes after what would have been given of this one.
            g = os.open('g', os.O_RDONLY)
            w = os.open('g', os.O_RDWR)
            for i in range(20): read(g, i * 400000 // page * page)
            read_and_wait(os.open('h', os.O_RDONLY), 1 << 20)
            assert len(resident(g)) == 20, len(resident(g))
            """);
    }

    [Fact]
    public async Task What_is_written_is_never_undone_by_what_the_kernel_is_given()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        _ = await drive.ShellAsync("head -c 4194304 /dev/urandom > f");
        await drive.RemountAsync();
        await RunScriptAsync(drive, """
            import os, random, signal, struct
            size, page = 4 << 20, 4096
            readers = []
            for n in range(3):
                pid = os.fork()
                if pid == 0:
                    r = random.Random(n)
                    while True:
                        fd = os.open('f', os.O_RDONLY)
                        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                        for _ in range(4): os.pread(fd, page, r.randrange(size // page) * page)
                        os.close(fd)
                readers.append(pid)
            r = random.Random(99)
            known = {}
            for rounds in range(1, 2001):
                fd = os.open('f', os.O_WRONLY)
                for _ in range(2):
                    at = r.randrange(size // page)
                    known[at] = struct.pack('<Q', rounds) * (page // 8)
                    os.pwrite(fd, known[at], at * page)
                os.close(fd)
                if rounds % 50 == 0: # cut and grown again: zeros from there on
                    os.truncate('f', size // 2)
                    os.truncate('f', size)
                    for at in [at for at in known if at >= size // page // 2]: known[at] = bytes(page)
                fd = os.open('f', os.O_RDONLY)
                for at in r.sample(sorted(known), min(len(known), 20)):
                    found = os.pread(fd, page, at * page)
                    assert found == known[at], (rounds, at, found[:8], known[at][:8])
                assert os.fstat(fd).st_size == size
                os.close(fd)
            for pid in readers:
                os.kill(pid, signal.SIGKILL)
                assert os.waitpid(pid, 0)[1] == signal.SIGKILL # it read until now
            """);
    }

    [Fact]
    public async Task An_unmount_while_files_are_open_is_over_in_bounded_time()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync(TimeSpan.FromMilliseconds(300));
        using Process user = drive.StartShell("exec 5>held; echo ready; exec sleep 1000");
        try
        {
            Assert.Equal("ready", await user.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
            Assert.False(await drive.StopAsync().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken));
            Assert.Equal(0, await RunAsync("bash", "-c", $"! mountpoint -q {drive.Point}"));
        }
        finally
        {
            user.Kill();
        }
    }

    [Fact]
    public async Task An_unmount_by_somebody_else_ends_the_mount()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        _ = await drive.ShellAsync("echo x > f");
        Assert.Equal(0, await RunAsync("umount", drive.Point));
        await drive.Mount!.Ended.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.True(await drive.StopAsync());
    }

    [Fact]
    public async Task A_mount_whose_server_died_is_cleared_away()
    {
        await using MountedVolume drive = await MountedVolume.OpenAsync();
        Assert.True(await drive.StopAsync());
        int fd = MountPoint.Mount(drive.Point, drive.Options, out int helper);
        Assert.Equal(-1, helper);
        Assert.Equal(0, FuseLibc.close(fd));
        Assert.NotEqual(0, await RunAsync("stat", drive.Point));
        await drive.StartAsync();
        Assert.Equal("", await drive.ShellAsync("ls"));
    }

    [Fact]
    public void A_folder_that_is_not_there_or_is_a_file_is_refused()
    {
        Assert.Contains("expected a folder to mount on", Assert.Throws<MountException>(static () => MountPoint.Prepare("/nowhere/at/all")).Message);
        Assert.Contains("expected a folder to mount on", Assert.Throws<MountException>(static () => MountPoint.Prepare("/proc/self/status")).Message);
    }

    [Theory]
    [InlineData("/usr", "/", true)]
    [InlineData("/usr", "/usr", true)]
    [InlineData("/usr/none/such", "/usr", true)]
    [InlineData("/usr/none/such", "/usr/none", true)]
    [InlineData("/usr/none", "/usr/none/such", false)]
    [InlineData("/usrx", "/usr", false)]
    [InlineData("/proc/self/root/usr", "/usr", true)]
    public void What_lies_in_a_folder_is_known_whatever_links_lead_there(string path, string folder, bool expected) => Assert.Equal(expected, FuseMount.IsAtOrBelow(path, folder));

    private static Task<string> RunScriptAsync(MountedVolume drive, string python)
    {
        string path = Path.Join(drive.Folder, "script.py");
        File.WriteAllText(path, python);
        return drive.ShellAsync($"python3 {path}");
    }

    private static async Task<int> RunAsync(string program, params string[] words)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, words) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        await process.WaitForExitAsync();
        return process.ExitCode;
    }
}
