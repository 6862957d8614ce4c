using System.Buffers.Binary;
using System.Text;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>Lists in a volume, without a kernel; tests/TokTok.Storage.Mount.Tests compares a mount's with ext4's.</summary>
public sealed class AccessControlListTests
{
    private const string Access = "system.posix_acl_access", Default = "system.posix_acl_default";

    [Fact]
    public async Task The_list_makes_the_mode_and_the_mode_the_list()
    {
        using var volume = new VolumeTree();
        volume.Create("f", 0x1a0, true); // 0640
        Assert.Equal(FileError.None, volume.SetXattr("f", Access, List((1, 7, null), (2, 6, 1000), (4, 5, null), (0x10, 3, null), (0x20, 1, null)), XattrMode.Any));
        Assert.Equal(0x1d9u, volume.AttributesOf("f").Mode); // 0731: the group's bits are the mask's
        volume.SetMode("f", 0x1b4); // 0664
        Assert.Equal(List((1, 6, null), (2, 6, 1000), (4, 5, null), (0x10, 6, null), (0x20, 4, null)), Get(volume, "f", Access));
        await volume.RemountAsync();
        Assert.Equal(0x1b4u, volume.AttributesOf("f").Mode);
        volume.SetMode("f", 0x180); // 0600, the list is read from its block
        Assert.Equal(List((1, 6, null), (2, 6, 1000), (4, 5, null), (0x10, 0, null), (0x20, 0, null)), Get(volume, "f", Access));
        await volume.RemountAsync();
        Assert.Equal(List((1, 6, null), (2, 6, 1000), (4, 5, null), (0x10, 0, null), (0x20, 0, null)), Get(volume, "f", Access));
    }

    [Fact]
    public void A_list_that_says_what_a_mode_can_say_is_not_kept()
    {
        using var volume = new VolumeTree();
        volume.Create("f", 0x1a0, true);
        Assert.Equal(FileError.None, volume.SetXattr("f", Access, List((1, 7, null), (4, 5, null), (0x20, 4, null)), XattrMode.Any));
        Assert.Equal(0x1ecu, volume.AttributesOf("f").Mode); // 0754
        Assert.Null(Get(volume, "f", Access));
    }

    [Fact]
    public async Task What_is_made_in_a_directory_inherits_its_default_list_and_no_umask_applies()
    {
        using var volume = new VolumeTree();
        volume.Caller = new FileCaller(1000, 1000, 0, 0x3f); // umask 0077
        volume.MakeDirectory("d", 0x1ff);
        Assert.Equal(0x1c0u, volume.AttributesOf("d").Mode);
        byte[] list = List((1, 7, null), (2, 7, 1001), (4, 5, null), (0x10, 7, null), (0x20, 5, null));
        Assert.Equal(FileError.None, volume.SetXattr("d", Default, list, XattrMode.Any));
        await volume.RemountAsync(); // making reads the list
        volume.Create("d/f", 0x1b6, true); // 0666
        volume.MakeDirectory("d/sub", 0x1ed); // 0755
        Assert.Equal(0x1b4u, volume.AttributesOf("d/f").Mode); // 0664
        Assert.Equal(List((1, 6, null), (2, 7, 1001), (4, 5, null), (0x10, 6, null), (0x20, 4, null)), Get(volume, "d/f", Access));
        Assert.Equal((0x1edu, true), (volume.AttributesOf("d/sub").Mode, Get(volume, "d/sub", Default)!.SequenceEqual(list)));
        volume.Close(0);
        await volume.RemountAsync();
        Assert.Equal(List((1, 6, null), (2, 7, 1001), (4, 5, null), (0x10, 6, null), (0x20, 4, null)), Get(volume, "d/f", Access));
        Assert.Equal(list, Get(volume, "d/sub", Default));
    }

    [Fact]
    public void What_inherited_a_list_has_it_after_a_kill_that_followed_a_sync()
    {
        using var volume = new VolumeTree(store: new MemoryVolumeStore { Journal = new MemoryJournal() });
        volume.MakeDirectory("d", 0x1ff);
        byte[] list = List((1, 7, null), (2, 7, 1001), (4, 5, null), (0x10, 7, null), (0x20, 5, null));
        Assert.Equal(FileError.None, volume.SetXattr("d", Default, list, XattrMode.Any));
        volume.Tree.SyncAll();
        volume.MakeDirectory("d/sub", 0x1ed);
        volume.SetMode("d/sub", 0x1c0);
        volume.Tree.SyncAll();
        volume.Kill();
        Assert.Equal((0x1c0u, true), (volume.AttributesOf("d/sub").Mode, Get(volume, "d/sub", Default)!.SequenceEqual(list)));
        Assert.Equal(List((1, 7, null), (2, 7, 1001), (4, 5, null), (0x10, 0, null), (0x20, 0, null)), Get(volume, "d/sub", Access));
    }

    [Fact]
    public void What_is_no_list_is_refused_and_one_that_is_not_there_is_removed()
    {
        using var volume = new VolumeTree();
        volume.Create("f", 0x1a0, true);
        byte[] good = List((1, 7, null), (2, 6, 1000), (4, 5, null), (0x10, 3, null), (0x20, 1, null));
        Assert.Equal(FileError.EACCES, volume.SetXattr("f", Default, good, XattrMode.Any));
        byte[][] bad =
        [
            [], good[..4], good[..^1], [3, .. good[1..]],
            List((1, 7, null), (2, 6, 1000), (4, 5, null), (0x20, 1, null)), // names without a mask
            List((4, 5, null), (1, 7, null), (0x20, 1, null)),
            List((1, 7, null), (1, 7, null), (4, 5, null), (0x20, 1, null)),
            List((1, 8, null), (4, 5, null), (0x20, 1, null)),
            List((1, 7, null), (4, 5, null), (0x40, 1, null)),
            List((1, 7, null), (2, 7, null), (4, 5, null), (0x10, 7, null), (0x20, 1, null)),
            List((1, 7, null), (2, 7, 5), (0x10, 7, null), (0x20, 1, null)),
        ];
        Assert.All(bad, list => Assert.Equal(FileError.EINVAL, volume.SetXattr("f", Access, list, XattrMode.Any)));
        Assert.Equal(FileError.EOPNOTSUPP, volume.SetXattr("f", "system.posix_acl_other", good, XattrMode.Any));
        Assert.Equal(0x1a0u, volume.AttributesOf("f").Mode);
        Assert.Equal(FileError.None, volume.Tree.Lookup(volume.Tree.RootId, "f"u8, out InodeAttributes file));
        Assert.Equal(FileError.None, volume.Tree.RemoveXattr(volume.Caller, file.FileId, Encoding.UTF8.GetBytes(Access)));
        volume.Tree.Forget(file.FileId, 1);
    }

    private static byte[] List(params (ushort Tag, ushort Permissions, uint? Number)[] entries)
    {
        byte[] list = new byte[4 + (8 * entries.Length)];
        list[0] = 2;
        for (int i = 0; i < entries.Length; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(list.AsSpan(4 + (8 * i)), entries[i].Tag);
            BinaryPrimitives.WriteUInt16LittleEndian(list.AsSpan(6 + (8 * i)), entries[i].Permissions);
            BinaryPrimitives.WriteUInt32LittleEndian(list.AsSpan(8 + (8 * i)), entries[i].Number ?? uint.MaxValue);
        }

        return list;
    }

    private static byte[]? Get(VolumeTree volume, string path, string name)
    {
        ulong at = volume.Tree.RootId;
        foreach (string step in path.Split('/'))
        {
            Assert.Equal(FileError.None, volume.Tree.Lookup(at, Encoding.UTF8.GetBytes(step), out InodeAttributes found));
            volume.Tree.Forget(at, 1);
            at = found.FileId;
        }

        byte[] value = new byte[65_536];
        FileError error = volume.Tree.GetXattr(at, Encoding.UTF8.GetBytes(name), value, out int bytes);
        volume.Tree.Forget(at, 1);
        return error == FileError.ENODATA ? null : value[..bytes];
    }
}
