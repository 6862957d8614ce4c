using System.Diagnostics;
using TokTok.Storage.Mount.Fuse;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>rsync carries a tree of everything that a file can have into a mount and, after another mount, back: what comes back is what went in.</summary>
public sealed class RsyncDrillTests
{
    /// <summary>Says all of the tree in $1 that must be the same elsewhere.</summary>
    private const string Describe =
        """
        cd "$1"
        find . -type d -printf '%p|%y|%m|%U|%G|%T@|%n\n' -o -printf '%p|%y|%m|%U|%G|%T@|%n|%s|%l\n' | sort
        find . -type f -links +1 -printf '%i %p\n' | sort | awk '{ group[$1] = group[$1] " " $2 } END { for (i in group) print "same file:" group[i] }' | sort
        find . \( -type b -o -type c \) -print0 | sort -z | xargs -0 -r stat -c '%n %t %T'
        find . ! -type l -print0 | sort -z | xargs -0 getfacl -n -- 2>&1
        find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex -- 2>&1
        find . -type f -print0 | sort -z | xargs -0 sha256sum
        """;

    [Fact(Timeout = 300_000)]
    public async Task A_tree_with_everything_goes_into_a_mount_by_rsync_and_comes_back_the_same()
    {
        string? missing = FuseMount.WhyNot();
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting without fusermount3 needs root");
        foreach (string program in (string[])["rsync", "getfacl", "getfattr"])
        {
            Assert.SkipUnless(await MountDrill.ShellAsync("command -v $1 > /dev/null && echo yes || true", program) == "yes\n", $"there is no {program}");
        }

        using var store = new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n");
        Assert.SkipUnless(await MountDrill.ShellAsync("stat -f -c %T $1", store.Folder) == "ext2/ext3\n", "the folder for temporary files is on no ext4");
        await store.InitAsync();
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        string source = Path.Join(store.Folder, "source");
        string back = Path.Join(store.Folder, "back");
        await MountDrill.ShellAsync(
            """
            mkdir "$1"; cd "$1"
            mkdir -p plain/deep/deeper empty shared default group sticky
            for i in $(seq 40); do seq $i > plain/$i; done
            head -c 3000000 /dev/urandom > plain/noise; : > plain/nothing
            truncate -s 30M sparse; printf middle | dd of=sparse bs=1 seek=15000000 conv=notrunc status=none; printf end >> sparse
            ln plain/noise plain/deep/noise; ln plain/noise noise; ln plain/7 plain/seven
            ln -s plain/7 link; ln -s /nowhere/$(printf 'x%.0s' $(seq 200)) dangling; ln link hardlink-of-link; ln -s . self
            mkfifo fifo; mknod character c 1 3; mknod block b 259 70000
            touch -- -rf ' space ' $'new\nline' $'tab\t' 'back\slash' '*' $'\xff\xfe' 'ü☃' '...' "$(printf 'n%.0s' $(seq 255))"
            setfacl -m u:1000:rw,g:3000:r,m:rx plain/1
            setfacl -m u:1000:rwx,u:2000:rx,g:3000:r,o:- shared
            setfacl -d -m u:1000:rwx,g:3000:rx,m:rwx default; mkdir default/inherits; echo inherits > default/inherits/too
            setfacl -d -m g:3000:rx shared; chmod 2770 shared
            setfattr -n user.comment -v 'a comment' plain/2; setfattr -n user.binary -v 0x00ff00 plain/2
            setfattr -n user.long -v "$(printf 'v%.0s' $(seq 3000))" plain/3
            setfattr -n trusted.secret -v x plain/deep; setfattr -h -n trusted.of-link -v y link; setfattr -n security.label -v z plain/4
            setfattr -n user.empty plain/5
            chown 1000:1000 plain/10; chown 4000000000:3999999999 plain/11; chown -h 2000:2000 link; chown 1:2 fifo
            chmod 0 plain/12; chmod 4755 plain/13; chmod 6711 plain/14; chmod 2755 group; chmod 1777 sticky; chmod 7777 plain/15
            # without this, what is no file and arrives within the second that its source was made in keeps the time of its arrival: rsync looks at seconds there
            find . -print0 | xargs -0 touch -h -d '2011-11-11 11:11:11.111111111Z'
            touch -d '1969-12-31 23:59:58.123456789Z' plain/20; touch -d '2105-03-04 05:06:07.000000001Z' plain/21; touch -d '2020-02-02 02:02:02.999999999Z' plain/22
            touch -h -d '2001-01-01 01:01:01.5Z' dangling; touch -d '1999-09-09 09:09:09.090909090Z' empty plain/deep
            """, source);
        string expected = await MountDrill.ShellAsync(Describe, source);
        try
        {
            using (Process first = await MountDrill.MountAsync(store, "--create", "v", point))
            {
                Assert.Equal("", await MountDrill.ShellAsync("rsync -aHAXS --numeric-ids --checksum $1/ $2/tree; rsync -naiHAX --numeric-ids --checksum --delete $1/ $2/tree", source, point));
                Assert.Equal(expected, await MountDrill.ShellAsync(Describe, Path.Join(point, "tree")));
                Assert.Equal(0, await MountDrill.SignalAsync(first, "TERM"));
            }

            using (Process second = await MountDrill.MountAsync(store, "v", point))
            {
                Assert.Equal(expected, await MountDrill.ShellAsync(Describe, Path.Join(point, "tree")));
                Assert.Equal("", await MountDrill.ShellAsync("rsync -aHAXS --numeric-ids --checksum $2/tree/ $3; rsync -naiHAX --numeric-ids --checksum --delete $1/ $3", source, point, back));
                Assert.Equal(expected, await MountDrill.ShellAsync(Describe, back));
                Assert.Equal("", await MountDrill.ShellAsync("for tree in $1/tree $2; do test $(stat -c %b $tree/sparse) -lt 2000 || stat $tree/sparse; done", point, back));
                Assert.Equal(0, await MountDrill.SignalAsync(second, "TERM"));
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }
}
