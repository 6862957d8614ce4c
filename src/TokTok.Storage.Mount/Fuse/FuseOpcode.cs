namespace TokTok.Storage.Mount.Fuse;

/// <summary>What the kernel asks for. Source: Linux, include/uapi/linux/fuse.h, as every number in this folder.</summary>
internal enum FuseOpcode : uint
{
    Lookup = 1,
    Forget = 2,
    GetAttr = 3,
    SetAttr = 4,
    ReadLink = 5,
    Symlink = 6,
    MkNod = 8,
    MkDir = 9,
    Unlink = 10,
    RmDir = 11,
    Rename = 12,
    Link = 13,
    Open = 14,
    Read = 15,
    Write = 16,
    StatFs = 17,
    Release = 18,
    Fsync = 20,
    SetXattr = 21,
    GetXattr = 22,
    ListXattr = 23,
    RemoveXattr = 24,
    Flush = 25,
    Init = 26,
    OpenDir = 27,
    ReadDir = 28,
    ReleaseDir = 29,
    FsyncDir = 30,
    Access = 34,
    Create = 35,
    Interrupt = 36,
    Destroy = 38,
    Ioctl = 39,
    BatchForget = 42,
    Fallocate = 43,
    ReadDirPlus = 44,
    Rename2 = 45,
    Lseek = 46,
    CopyFileRange = 47,
    SyncFs = 50,
    TmpFile = 51,

    /// <summary>As 47, and the answer has room for 64 bits; since 7.45.</summary>
    CopyFileRange64 = 53,
}

/// <summary>What kernel and server agree on in INIT.</summary>
[Flags]
internal enum FuseInitFlags : uint
{
    None = 0,
    AsyncRead = 1 << 0,
    AtomicTruncate = 1 << 3,
    BigWrites = 1 << 5,
    DoNotMask = 1 << 6,
    DoReadDirPlus = 1 << 13,
    ReadDirPlusAuto = 1 << 14,
    AsyncDirectIo = 1 << 15,
    WritebackCache = 1 << 16,
    ParallelDirectoryOperations = 1 << 18,
    PosixAccessControlLists = 1 << 20,
    MaxPages = 1 << 22,
    CacheSymlinks = 1 << 23,
    HandleKillPrivilegesV2 = 1 << 28,
    ExtendedSetXattr = 1 << 29,
}

/// <summary>fuse_setattr_in.valid.</summary>
[Flags]
internal enum FuseSetAttr : uint
{
    None = 0,
    Mode = 1 << 0,
    Owner = 1 << 1,
    Group = 1 << 2,
    Size = 1 << 3,
    Accessed = 1 << 4,
    Modified = 1 << 5,
    AccessedNow = 1 << 7,
    ModifiedNow = 1 << 8,
    Changed = 1 << 10,
    KillPrivileges = 1 << 11,
}
