using System.Runtime.InteropServices;

namespace TokTok.Storage.Mount.Fuse;

// The structs of the protocol, field by field as in fuse.h: the same on every architecture, in the machine's byte order, without hidden padding. Names of fields are the kernel's,
// in our spelling; what we never look at is kept for its place alone. A test holds each to its size.

/// <summary>fuse_in_header: begins every request.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseInHeader
{
    internal const int Size = 40;
    internal uint Length;
    internal FuseOpcode Opcode;
    internal ulong Unique;
    internal ulong NodeId;
    internal uint UserId;
    internal uint GroupId;
    internal uint ProcessId;
    internal ushort ExtensionWords;
    internal ushort Padding;
}

/// <summary>fuse_out_header: begins every reply.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseOutHeader
{
    internal const int Size = 16;
    internal uint Length;

    /// <summary>0 or minus errno.</summary>
    internal int Error;
    internal ulong Unique;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseInitIn
{
    /// <summary>What every kernel sends; flags2 came later and is not looked at.</summary>
    internal uint Major;
    internal uint Minor;
    internal uint MaxReadAhead;
    internal FuseInitFlags Flags;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseInitOut
{
    internal uint Major;
    internal uint Minor;
    internal uint MaxReadAhead;
    internal FuseInitFlags Flags;
    internal ushort MaxBackground;
    internal ushort CongestionThreshold;
    internal uint MaxWrite;
    internal uint TimeGranularity;
    internal ushort MaxPages;
    internal ushort MapAlignment;
    internal uint Flags2;
    internal uint Unused0;
    internal uint Unused1;
    internal uint Unused2;
    internal uint Unused3;
    internal uint Unused4;
    internal uint Unused5;
    internal uint Unused6;
}

/// <summary>fuse_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseAttr
{
    internal ulong Ino;
    internal ulong Size;
    internal ulong Blocks;
    internal ulong AccessedSeconds;
    internal ulong ModifiedSeconds;
    internal ulong ChangedSeconds;
    internal uint AccessedNanoseconds;
    internal uint ModifiedNanoseconds;
    internal uint ChangedNanoseconds;
    internal uint Mode;
    internal uint LinkCount;
    internal uint OwnerId;
    internal uint GroupId;
    internal uint Device;
    internal uint BlockSize;
    internal uint Flags;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseEntryOut
{
    internal ulong NodeId;
    internal ulong Generation;
    internal ulong EntryValidSeconds;
    internal ulong AttrValidSeconds;
    internal uint EntryValidNanoseconds;
    internal uint AttrValidNanoseconds;
    internal FuseAttr Attr;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseAttrOut
{
    internal ulong AttrValidSeconds;
    internal uint AttrValidNanoseconds;
    internal uint Padding;
    internal FuseAttr Attr;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseForgetOne
{
    internal ulong NodeId;
    internal ulong Count;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseBatchForgetIn
{
    internal uint Count;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseMkNodIn
{
    internal uint Mode;
    internal uint Device;
    internal uint Umask;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseMkDirIn
{
    internal uint Mode;
    internal uint Umask;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseRename2In
{
    internal ulong NewDirectory;
    internal uint Flags;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseSetAttrIn
{
    internal FuseSetAttr Valid;
    internal uint Padding;
    internal ulong Handle;
    internal ulong Size;
    internal ulong LockOwner;
    internal ulong AccessedSeconds;
    internal ulong ModifiedSeconds;
    internal ulong ChangedSeconds;
    internal uint AccessedNanoseconds;
    internal uint ModifiedNanoseconds;
    internal uint ChangedNanoseconds;
    internal uint Mode;
    internal uint Unused4;
    internal uint OwnerId;
    internal uint GroupId;
    internal uint Unused5;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseOpenIn
{
    /// <summary>O_….</summary>
    internal uint Flags;
    internal uint OpenFlags;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseCreateIn
{
    internal uint Flags;
    internal uint Mode;
    internal uint Umask;
    internal uint OpenFlags;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseOpenOut
{
    internal ulong Handle;
    internal uint OpenFlags;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseReleaseIn
{
    internal ulong Handle;
    internal uint Flags;
    internal uint ReleaseFlags;
    internal ulong LockOwner;
}

/// <summary>fuse_read_in and fuse_write_in, which differ in the names of flags alone.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseTransferIn
{
    internal const int Bytes = 40;
    internal ulong Handle;
    internal ulong Offset;
    internal uint Size;
    internal uint TransferFlags;
    internal ulong LockOwner;
    internal uint Flags;
    internal uint Padding;
}

/// <summary>fuse_write_out, and fuse_getxattr_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseSizeOut
{
    internal uint Size;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseStatFsOut
{
    internal ulong Blocks;
    internal ulong FreeBlocks;
    internal ulong AvailableBlocks;
    internal ulong Files;
    internal ulong FreeFiles;
    internal uint BlockSize;
    internal uint NameLength;
    internal uint FragmentSize;
    internal uint Padding;
    internal uint Spare0;
    internal uint Spare1;
    internal uint Spare2;
    internal uint Spare3;
    internal uint Spare4;
    internal uint Spare5;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseFsyncIn
{
    internal ulong Handle;
    internal uint FsyncFlags;
    internal uint Padding;
}

/// <summary>fuse_setxattr_in as it is unless FUSE_SETXATTR_EXT was agreed on.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseSetXattrIn
{
    internal uint Size;
    internal uint Flags;
}

/// <summary>What follows it then.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseSetXattrMore
{
    internal uint SetFlags;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseGetXattrIn
{
    internal uint Size;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseFallocateIn
{
    internal ulong Handle;
    internal ulong Offset;
    internal ulong Length;
    internal uint Mode;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseLseekIn
{
    internal ulong Handle;
    internal ulong Offset;
    internal uint Whence;
    internal uint Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct FuseCopyFileRangeIn
{
    internal ulong FromHandle;
    internal ulong FromOffset;
    internal ulong ToNodeId;
    internal ulong ToHandle;
    internal ulong ToOffset;
    internal ulong Length;
    internal ulong Flags;
}

/// <summary>fuse_notify_inval_inode_out: bytes from an offset on, so many, 0 for all; a negative offset, attributes alone.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseForgetInode
{
    internal ulong NodeId;
    internal long Offset;
    internal long Length;
}

/// <summary>fuse_notify_store_out; the bytes follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseStoreBytes
{
    internal ulong NodeId;
    internal ulong Offset;
    internal uint Size;
    internal uint Padding;
}

/// <summary>fuse_notify_inval_entry_out; the name and a NUL follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseForgetName
{
    internal ulong Directory;
    internal uint NameLength;
    internal uint Flags;
}

/// <summary>fuse_dirent; the name follows, and zeros up to a multiple of eight bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseDirent
{
    internal const int Size = 24;
    internal ulong Ino;
    internal ulong Cookie;
    internal uint NameLength;
    internal uint Type;
}
