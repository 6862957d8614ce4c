using TokTok.Storage.Core;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Makes, opens and recovers stores: the one door of the verbs, composed in Composition.</summary>
/// <remarks>Errors are <see cref="UserError"/> (no store, foreign, locked, wrong passphrase), the exceptions of Core, or cancellation; one line each.</remarks>
internal interface IStoreHost
{
    /// <summary>Makes a store where there is none. Fails with <see cref="ExitCode.Exists"/> where there is one.</summary>
    ValueTask<InitResult> InitAsync(StorageConfig config, SecretBuffer passphrase, CancellationToken cancel);

    /// <summary>Opens the store, unlocking its keyring by the agent or the passphrase.</summary>
    ValueTask<IStoreSession> OpenAsync(OpenRequest request, CancellationToken cancel);

    /// <summary>What is in force for a folder of this machine, against the places that the configuration names; null: for the store. Opens no store.</summary>
    RedundancyInfo Redundancy(StorageConfig config, string? folder);

    /// <summary>Lets a folder of this machine ask for "survive=N" or "k+m", or (null) for nothing of its own; says what is in force then. Opens no store.</summary>
    RedundancyInfo SetRedundancy(StorageConfig config, string folder, string? wanted);

    /// <summary>Unlocks the keyring, for what concerns peers. Opens no store.</summary>
    ValueTask<IPeers> PeersAsync(OpenRequest request, CancellationToken cancel);

    /// <summary>Makes a volume whose keys are in this keyring alone: not the words, nothing else brings it back.</summary>
    ValueTask CreateBurnableAsync(OpenRequest request, string volume, CancellationToken cancel);

    /// <summary>Erases a burnable volume's keys, and with them its data. Durable when it returns.</summary>
    ValueTask<BurnResult> BurnAsync(OpenRequest request, string volume, CancellationToken cancel);

    /// <summary>Makes this machine another device of an account, by a code of one that is.</summary>
    ValueTask<JoinResult> JoinAsync(JoinRequest request, CancellationToken cancel);

    /// <summary>Rebuilds the state folder from words and holders; a drill builds it in a temporary folder and takes that away again.</summary>
    ValueTask<RecoverResult> RecoverAsync(RecoverRequest request, IProgressSink progress, CancellationToken cancel);
}

internal enum StoreAccess
{
    /// <summary>From the last committed state, beside a writer.</summary>
    Read,

    /// <summary>The one writer; <see cref="ExitCode.Locked"/> names the process that is it already.</summary>
    Write,

    /// <summary>As <see cref="Read"/>, and for long work that writes in turns: refused like <see cref="Write"/> where the store cannot be written now.</summary>
    WriteInTurns,

    /// <summary>As <see cref="Write"/>, for volumes that are worked in as long as the session lasts: other verbs are done by this process meanwhile.</summary>
    Serve,
}

internal sealed record OpenRequest
{
    public required StorageConfig Config { get; init; }

    public required StoreAccess Access { get; init; }

    public required PassphraseSource Passphrases { get; init; }

    /// <summary>What a second writer is told that the first one does.</summary>
    public string Verb { get; init; } = "";

    /// <summary>A configured folder whose holder is absent gets a new one, if the folder is empty or missing: for repair alone.</summary>
    public bool ReplacesAbsentHolders { get; init; }

    /// <summary>Long work that shares the store with other verbs of a running node, and is alone for single steps.</summary>
    public bool TakesTurns { get; init; }
}

/// <summary>A new store. The owner disposes it, which zeroes the words.</summary>
internal sealed class InitResult(SecretBuffer words) : IDisposable
{
    /// <summary>The 24 words in ASCII, single spaces between, to be shown once.</summary>
    public SecretBuffer Words { get; } = words;

    public required string StorePath { get; init; }

    public required IReadOnlyList<HolderConfig> Holders { get; init; }

    /// <summary>As people write it: "16+1".</summary>
    public required string RedundancyClass { get; init; }

    public void Dispose() => Words.Dispose();
}

/// <summary>How many lost places what lies in a folder outlives, and who says so.</summary>
internal sealed record RedundancyInfo
{
    public required int Survive { get; init; }

    public required int PlaceCount { get; init; }

    /// <summary>As people write it: "2+1".</summary>
    public required string RedundancyClass { get; init; }

    /// <summary>"survive=2" or "2+1", as the folder asks; null: nobody asks, storage.toml counts.</summary>
    public string? Wish { get; init; }

    /// <summary>The folder that asks: the one itself, or one above.</summary>
    public string? From { get; init; }

    /// <summary>Why less is kept than is asked for.</summary>
    public string? Problem { get; init; }
}

/// <param name="FreedBytes">What its arenas took.</param>
/// <param name="OtherKeyrings">Older keyrings beside the one in use, which may have the keys still.</param>
internal sealed record BurnResult(long FreedBytes, IReadOnlyList<string> OtherKeyrings)
{
    /// <summary>What kept some of the space, one line each.</summary>
    public IReadOnlyList<string> Reasons { get; init; } = [];
}

internal sealed record RecoverRequest
{
    public required StorageConfig Config { get; init; }

    /// <summary>The words as typed; the caller disposes them.</summary>
    public required SecretBuffer Words { get; init; }

    /// <summary>The passphrase of the new keyring; null in a drill.</summary>
    public SecretBuffer? NewPassphrase { get; init; }

    public bool IsDrill { get; init; }

    /// <summary>host:port of a peer that keeps something of this account; null: the folders of storage.toml alone.</summary>
    public string? PeerAddress { get; init; }

    /// <summary>The machine becomes another device of the account, and goes on in no other's place.</summary>
    public bool AsNewDevice { get; init; }

    /// <summary>What the device is called; null: as the machine.</summary>
    public string? DeviceName { get; init; }

    /// <summary>In a drill: read every byte, as a check does.</summary>
    public bool ReadAll { get; init; }
}

internal sealed record RecoverResult(int HolderCount, long ArenaCount, long SnapshotCount, IReadOnlyList<string> Problems)
{
    /// <summary>What a drill found when it checked what it had recovered; null otherwise.</summary>
    public CheckResult? Proof { get; init; }
}

/// <summary>An open store. Dispose flushes nothing: what a verb acknowledged is durable before.</summary>
internal interface IStoreSession : IAsyncDisposable
{
    IStoreCare Care { get; }

    IVolumes Volumes { get; }

    IMounts Mounts { get; }

    IWebDav WebDav { get; }

    IPeers Peers { get; }

    IAudits Audits { get; }

    IFreed Freed { get; }

    /// <summary>Moves everything of this store away from a peer, releases what it has, and ends it as a holder. One that is interrupted goes on when it is asked for again.</summary>
    /// <remarks>Refuses (<see cref="UserError"/>), before anything moves, where something would be kept weaker than is asked for, or would have no room.</remarks>
    ValueTask<LeaveResult> LeaveAsync(string peer, IProgressSink progress, CancellationToken cancel);

    IDevices Devices { get; }

    /// <summary>Writes the file with which a peer repairs this store's arenas without any key.</summary>
    ValueTask<RepairExportResult> ExportRepairAsync(string peer, string path, CancellationToken cancel);
}

/// <param name="Unreached">Why a holder was not told that the friend may; one line each. It lets him in unless it was told once that he may not.</param>
internal sealed record RepairExportResult(string Peer, string File, int ArenaCount, int HolderCount, long Bytes, IReadOnlyList<string> Unreached);

/// <param name="Unreached">Who goes on letting the friend in until told.</param>
internal sealed record RepairRevokeResult(string Peer, int HolderCount, IReadOnlyList<string> Unreached);

/// <param name="Unrepairable">What too few fragments are left of, one line each.</param>
/// <param name="Left">What is still not where it should be, and why.</param>
internal sealed record RepairForResult(
    string Owner, int ArenaCount, int HolderCount, int AnsweringCount, long RepairedFragmentCount, long WrittenBytes, IReadOnlyList<string> Unrepairable, IReadOnlyList<string> Left);

/// <param name="MovedBytes">Fragments and blocks that were written elsewhere.</param>
/// <param name="Problem">Why the peer was not told that it may delete what it has; null: it was.</param>
internal sealed record LeaveResult(PeerInfo Peer, long MovedBytes, string? Problem);

/// <summary>What Blocks does for the verbs: keep the store whole.</summary>
internal interface IStoreCare
{
    /// <summary>Finds out which peers answer now; a few seconds at most.</summary>
    ValueTask GreetAsync(CancellationToken cancel);

    StoreStatus Status();

    /// <summary>Compares the store with what it should be: structures, fragments by name; with readAll every fragment's bytes and every block's score.</summary>
    ValueTask<CheckResult> CheckAsync(bool readAll, IProgressSink progress, CancellationToken cancel);

    ValueTask<RepairResult> RepairAsync(IProgressSink progress, CancellationToken cancel);

    ValueTask<ReclaimResult> ReclaimAsync(bool dryRun, IProgressSink progress, CancellationToken cancel);

    ValueTask<ReindexResult> ReindexAsync(IProgressSink progress, CancellationToken cancel);

    /// <summary>The structures that <see cref="DebugAsync"/> prints and checks.</summary>
    IReadOnlyList<string> DebugStructures { get; }

    /// <summary>Prints one structure, and the checks that failed; what names one of several (an arena's id) is given, or null for all.</summary>
    /// <param name="withNames">Names of files too, where the structure has any.</param>
    ValueTask DebugAsync(string structure, string? name, bool withNames, DebugPage page, CancellationToken cancel);
}

internal sealed record StoreStatus
{
    public required string StorePath { get; init; }

    public required string RedundancyClass { get; init; }

    public required int SurvivablePlaceCount { get; init; }

    /// <summary>What the arenas outlive by the holders that answer now; null: there are none.</summary>
    public StoreHealth? Health { get; init; }

    public required bool HasPassphrase { get; init; }

    public required long ArenaCount { get; init; }

    public required long StoredBytes { get; init; }

    public required long ParityBytes { get; init; }

    public required long JournalBytes { get; init; }

    /// <summary>Bytes in the trash, and those that wait for something, with the reason.</summary>
    public required long TrashBytes { get; init; }

    /// <summary>What is kept here of holders that are cached; null: none is.</summary>
    public long? CacheBytes { get; init; }

    public required IReadOnlyList<string> WaitingFor { get; init; }

    /// <summary>Folders that are freed on this device.</summary>
    public int FreedCount { get; init; }

    /// <summary>What lies on other machines alone, since it is freed here, parity apart.</summary>
    public long AwayBytes { get; init; }

    /// <summary>What is not yet at the places that were promised for it.</summary>
    public Blocks.Store.ReplicationLag Lag { get; init; }

    /// <summary>How old that may grow before writers wait; zero: as old as it likes.</summary>
    public TimeSpan ReplicateWithin { get; init; }

    /// <summary>Where alone anything may lie; empty: anywhere.</summary>
    public IReadOnlyList<string> Countries { get; init; } = [];

    public required IReadOnlyList<HolderStatus> Holders { get; init; }

    /// <summary>Holders that repair moves everything away from; used is what they still have.</summary>
    public IReadOnlyList<HolderStatus> Leaving { get; init; } = [];

    /// <summary>What peers have shown of what they say.</summary>
    public StoreEvidence Evidence { get; init; } = new(0, 0, 0);

    public required int VolumeCount { get; init; }
}

/// <param name="Survives">Lost places that every arena outlives from here on; -1: some cannot be read before a holder is back.</param>
/// <param name="WeakArenaCount">Arenas that outlive less than was promised for them.</param>
/// <param name="UnreadableArenaCount">Those of them that too few of the fragments can be had of.</param>
/// <param name="MissingPlaceCount">Of <paramref name="PlaceCount"/> places, those where nobody answers or what answers counts as lost.</param>
internal sealed record StoreHealth(int Survives, int WeakArenaCount, int UnreadableArenaCount, int MissingPlaceCount, int PlaceCount);

internal sealed record HolderStatus(string Path, string Place, bool IsPresent, long UsedBytes, long? QuotaBytes, long FreeBytes)
{
    /// <summary>Of a peer: by what was seen of it.</summary>
    public HolderStanding Standing { get; init; }

    /// <summary>Where its owner says it lies; null: nobody said.</summary>
    public string? Country { get; init; }

    /// <summary>Nothing may lie there: repair moves away what does.</summary>
    public bool IsOutside { get; init; }
}

/// <summary>Damage by place; empty lists mean a clean store.</summary>
internal sealed record CheckResult
{
    public required long ArenaCount { get; init; }

    public required long FragmentCount { get; init; }

    public required long BlockCount { get; init; }

    public required long ReadBytes { get; init; }

    /// <summary>One line a damaged fragment or structure: what, where, found, expected.</summary>
    public required IReadOnlyList<string> Damaged { get; init; }

    /// <summary>Paths, in their text form, with a block that parity cannot bring back.</summary>
    public required IReadOnlyList<string> UnreadablePaths { get; init; }

    public bool IsClean => Damaged.Count == 0 && UnreadablePaths.Count == 0;
}

internal sealed record RepairResult(long RepairedFragmentCount, long WrittenBytes, IReadOnlyList<string> Unrepairable)
{
    /// <summary>What was kept weaker than its directory wants, or the store's setting, and was moved.</summary>
    public long MovedBytes { get; init; }

    /// <summary>Of it, what is freed here and went to other machines alone.</summary>
    public long FreedBytes { get; init; }

    /// <summary>Of it, what lay on other machines alone and is kept here again.</summary>
    public long ReturnedBytes { get; init; }

    /// <summary>The first failure of a disk on the way: what it stopped is no damage, and another repair may mend it.</summary>
    public DiskException? Failure { get; init; }
}

internal sealed record ReclaimResult(long CondemnedArenaCount, long CopiedBytes, long FreedBytes, long TrashedBytes, IReadOnlyList<string> WaitingFor);

internal sealed record ReindexResult(long ArenaCount, long BlockCount);
