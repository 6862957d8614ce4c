namespace TokTok.Storage.Node.Wire;

/// <summary>Names, statuses and limits of what nodes say to each other.</summary>
/// <remarks>Format: docs/protocol.md 3.2 and 3.3, which shows every number of this file.</remarks>
public static class Protocol
{
    public const byte Version = 1;

    internal const string Root = "/tdfs/";
    internal const string Path = "/tdfs/1/";

    /// <summary>The header by which a request says which holder it is meant for.</summary>
    internal const string HolderHeader = "tdfs-holder";

    /// <summary>The header by which a friend shows that it may repair for an account.</summary>
    internal const string GrantHeader = "tdfs-grant";

    internal const int MaxLineBytes = 4096;
    internal const int MaxHeaderBytes = 8192;
    internal const int MaxHeaders = 32;
    internal const int FrameBytes = 64 * 1024;
    internal const int StreamWindowBytes = 1024 * 1024;
    internal const int ConnectionWindowBytes = 4 * 1024 * 1024;
    internal const int MaxStreams = 32;
    internal const int MaxConnections = 512;
    internal const int MaxConnectionsPerAccount = 40;
    internal const int MaxBulkConnections = 4;
    internal const int MaxStrangers = 16;
    internal const int MaxHandshakes = 64;
    internal const int MaxLinesPerDevice = 4;
    internal const int MaxLines = 512;
    internal const int MaxStrangerBodyBytes = 4096;
    internal const int MinBytesPerSecond = 16 * 1024;
    internal const int MaxUploadsPerAccount = 2;
    internal const long MaxUploadBytes = 128L * 1024 * 1024;
    internal const int MaxDiskRequestsPerAccount = 4;
    internal const int MaxDiskRequests = 8;

    internal const int MaxSliceTotalBytes = 17_821_696;
    internal const int MaxFragments = 256;
    internal const int SliceUnit = 4096;
    internal const int WindowBytes = 64 * 1024;
    internal const int MaxReadBytes = 1024 * 1024;
    internal const int MaxInspected = 256;
    internal const int MaxListed = 4_194_304;
    internal const int MaxListedAtOnce = 1024;
    internal const long MaxListingBytes = 128L * 1024 * 1024;
    internal const long MaxSaidBytes = 1L << 60;
    internal const int MaxShortAnswers = 8;
    internal const int UploadStepBytes = 256 * 1024;
    internal const int MaxGroups = 1088;
    internal const int MaxObjects = 65_536;
    internal const int MaxAppendBytes = 1024 * 1024;
    internal const int MaxObjectBytes = 17 * 1024 * 1024;
    internal const int MaxDamageBytes = 1024;
    internal const int MaxRefusalBytes = 256;
    internal const int MaxNameCharacters = 255;

    /// <summary>The largest of the fixed parts and tables before a request's payload.</summary>
    internal const int MaxTableBytes = 64 * 1024;

    internal static readonly TimeSpan HandshakeTime = TimeSpan.FromSeconds(10);
    internal static readonly TimeSpan StrangerTime = TimeSpan.FromSeconds(30);
    internal static readonly TimeSpan SlowGrace = TimeSpan.FromSeconds(10);
    internal static readonly TimeSpan ConnectionTime = TimeSpan.FromMinutes(60);
    internal static readonly TimeSpan ConnectionEnd = TimeSpan.FromMinutes(75);
    internal static readonly TimeSpan UploadTime = TimeSpan.FromMinutes(10);

    internal static class Status
    {
        internal const int Done = 200;
        internal const int Malformed = 400;
        internal const int NotLetIn = 403;
        internal const int NoOperation = 404;
        internal const int Conflict = 409;
        internal const int Gone = 410;
        internal const int OtherHolder = 412;
        internal const int Mismatch = 422;
        internal const int TooMany = 429;
        internal const int Damaged = 500;
        internal const int DiskFailed = 503;
        internal const int OtherVersion = 505;
        internal const int Full = 507;
    }

    internal static class Operation
    {
        internal const string Hello = "hello";
        internal const string Inspect = "inspect";
        internal const string List = "list";
        internal const string PutBegin = "put-begin";
        internal const string PutBytes = "put-bytes";
        internal const string Read = "read";
        internal const string Hashes = "hashes";
        internal const string Salvage = "salvage";
        internal const string Rewrite = "rewrite";
        internal const string Mend = "mend";
        internal const string Settle = "settle";
        internal const string Trash = "trash";
        internal const string Restore = "restore";
        internal const string Purge = "purge";
        internal const string Delete = "delete";
        internal const string Renew = "renew";
        internal const string CancelReleases = "cancel-releases";
        internal const string Objects = "objects";
        internal const string ObjectRead = "object-read";
        internal const string ObjectAppend = "object-append";
        internal const string ObjectPut = "object-put";
        internal const string ObjectDelete = "object-delete";
        internal const string Statements = "statements";
        internal const string Join = "join";
        internal const string Enrol = "enrol";
        internal const string Wait = "wait";
        internal const string Relay = "relay";
    }
}
