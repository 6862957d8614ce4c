using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TokTok.Storage.Files;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>What the volume says, in the kernel's words.</summary>
/// <param name="volume">Its topmost directory is what the kernel knows as node 1. No other file has that id: the upper 24 bits of an id are a device's number, and those begin at 1.</param>
/// <param name="cacheSeconds">How long the kernel may answer from what it was told; what never changes, as good as for ever, and what changes unnoticed, not at all.</param>
internal sealed class FuseReplies(IVolumeFileSystem volume, uint cacheSeconds)
{
    internal const ulong RootNode = 1;
    private const uint EverSeconds = 10 * 365 * 24 * 3600;
    private readonly ulong _rootId = volume.RootId;

    /// <summary>st_blksize, and the unit of statfs.</summary>
    private const uint BlockSize = 4096;

    internal ulong NodeOf(ulong fileId) => fileId == _rootId ? RootNode : fileId;

    internal ulong FileIdOf(ulong node) => node == RootNode ? _rootId : node;

    /// <param name="directory">The file id of where the name is.</param>
    internal FuseEntryOut Entry(ulong directory, in InodeAttributes attributes) => new()
    {
        NodeId = NodeOf(attributes.FileId),
        EntryValidSeconds = KeepSeconds(directory),
        AttrValidSeconds = KeepSeconds(attributes.FileId),
        Attr = Attr(attributes),
    };

    /// <summary>No such name, and the kernel may remember so.</summary>
    internal FuseEntryOut NoEntry(ulong directory) => new() { EntryValidSeconds = KeepSeconds(directory) };

    internal FuseAttrOut Attributes(in InodeAttributes attributes) => new() { AttrValidSeconds = KeepSeconds(attributes.FileId), Attr = Attr(attributes) };

    /// <summary>How long the kernel may keep the attributes of a file, and the names in it.</summary>
    private uint KeepSeconds(ulong fileId) => volume.IsForEver(fileId) ? EverSeconds : volume.IsFleeting(fileId) ? 0 : cacheSeconds;

    internal static FuseAttr Attr(in InodeAttributes attributes) => new()
    {
        Ino = attributes.FileId,
        Size = (ulong)attributes.Size,
        Blocks = (ulong)attributes.BlockCount,
        AccessedSeconds = unchecked((ulong)attributes.Accessed.Seconds),
        ModifiedSeconds = unchecked((ulong)attributes.Modified.Seconds),
        ChangedSeconds = unchecked((ulong)attributes.Changed.Seconds),
        AccessedNanoseconds = attributes.Accessed.Nanoseconds,
        ModifiedNanoseconds = attributes.Modified.Nanoseconds,
        ChangedNanoseconds = attributes.Changed.Nanoseconds,
        Mode = attributes.FullMode,
        LinkCount = attributes.LinkCount,
        OwnerId = attributes.OwnerId,
        GroupId = attributes.GroupId,
        Device = EncodeDevice(attributes.DeviceMajor, attributes.DeviceMinor),
        BlockSize = BlockSize,
    };

    internal static FuseStatFsOut Statistics(in VolumeStatistics statistics)
    {
        const ulong Files = 1UL << 40; // a volume has no number of inodes that could run out
        return new FuseStatFsOut
        {
            Blocks = (ulong)statistics.TotalBytes / BlockSize,
            FreeBlocks = (ulong)statistics.FreeBytes / BlockSize,
            AvailableBlocks = (ulong)statistics.AvailableBytes / BlockSize,
            Files = Math.Max(Files, statistics.EntryCount),
            FreeFiles = Files - Math.Min(Files, statistics.EntryCount),
            BlockSize = BlockSize,
            FragmentSize = BlockSize,
            NameLength = VolumeStatistics.MaxNameBytes,
        };
    }

    /// <summary>The kernel's new_encode_dev: 12 bits of major number, 20 of minor.</summary>
    internal static uint EncodeDevice(uint major, uint minor) => (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12);

    internal static (uint Major, uint Minor) DecodeDevice(uint device) => ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));

    internal static void Put<T>(Span<byte> target, in T value)
        where T : unmanaged => MemoryMarshal.Write(target, in value);
}

/// <summary>Fills a reply with the names of a directory; what does not fit is refused. One of these serves one thread for ever.</summary>
internal sealed unsafe class FuseDirectorySink(FuseReplies replies) : IDirectorySink
{
    private byte* _target;
    private int _capacity;
    private bool _hasAttributes;
    private ulong _directory;

    /// <summary>Bytes filled.</summary>
    internal int Used { get; private set; }

    /// <param name="target">Stays where it is until the listing is done.</param>
    internal void Begin(ulong directory, byte* target, int capacity, bool hasAttributes)
    {
        _directory = directory;
        _target = target;
        _capacity = capacity;
        _hasAttributes = hasAttributes;
        Used = 0;
    }

    public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
    {
        int head = _hasAttributes ? Unsafe.SizeOf<FuseEntryOut>() : 0;
        int bytes = (head + FuseDirent.Size + name.Length + 7) & ~7;
        if (bytes > _capacity - Used)
        {
            return false;
        }

        var record = new Span<byte>(_target + Used, bytes);
        if (_hasAttributes)
        {
            // "." and ".." are counted by nobody: node 0 tells the kernel to take nothing from them.
            FuseReplies.Put(record, name.SequenceEqual("."u8) || name.SequenceEqual(".."u8) ? default : replies.Entry(_directory, attributes));
        }

        var dirent = new FuseDirent { Ino = attributes.FileId, Cookie = cookie, NameLength = (uint)name.Length, Type = attributes.FullMode >> 12 };
        FuseReplies.Put(record[head..], dirent);
        Span<byte> rest = record[(head + FuseDirent.Size)..];
        name.CopyTo(rest);
        rest[name.Length..].Clear();
        Used += bytes;
        return true;
    }
}
