using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Folders whose content this device does not keep itself: it lies on other machines, and is fetched from them when it is read.</summary>
internal interface IFreed
{
    /// <summary>By volume and path.</summary>
    IReadOnlyList<FreedInfo> List();

    /// <summary>Frees a folder or file of a volume, in its present and all its snapshots. One that is freed already goes on where it was interrupted.</summary>
    /// <remarks>Refuses (<see cref="UserError"/>), before anything changes, where something of it would not be safe without this device.</remarks>
    /// <param name="snapshot">Names the volume, and has the path.</param>
    /// <param name="dryRun">Only says what would be done.</param>
    ValueTask<FreeResult> FreeAsync(string snapshot, byte[] path, bool dryRun, IProgressSink progress, CancellationToken cancel);

    /// <summary>Keeps a folder here again, with all freed ones below it.</summary>
    ValueTask<FreeResult> KeepAsync(string snapshot, byte[] path, IProgressSink progress, CancellationToken cancel);
}

/// <param name="Volume">Its name; its id, where no volume of it is known any more.</param>
internal sealed record FreedInfo(string Volume, byte[] Path, long SinceSeconds);

/// <summary>What came of it, in stored bytes: compressed and encrypted, parity apart.</summary>
internal sealed record FreeResult
{
    public required string Volume { get; init; }

    public required byte[] Path { get; init; }

    /// <summary>What went to other machines, or (kept again) came back; in a dry run, what would.</summary>
    public required long MovedBytes { get; init; }

    /// <summary>What lay on other machines alone before.</summary>
    public long AwayBytes { get; init; }

    /// <summary>What stays because other folders, volumes or names want it too.</summary>
    public long SharedBytes { get; init; }

    /// <summary>What stays as it is, since another device of the account owns it, or it was taken up lately.</summary>
    public long OthersBytes { get; init; }

    /// <summary>Bytes in folders of this device, about, that this gives back in the end.</summary>
    public long LocalBytes { get; init; }

    /// <summary>Those of them that went to the trash now.</summary>
    public long TrashedBytes { get; init; }

    /// <summary>Running days until the trash may be emptied of them.</summary>
    public int TrashDays { get; init; }

    public IReadOnlyList<string> Problems { get; init; } = [];
}
