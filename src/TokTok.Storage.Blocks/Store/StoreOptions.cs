using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Store;

/// <summary>The sizes and promises of a store that storage.toml sets. None of them is part of the format.</summary>
public sealed record StoreOptions
{
    /// <summary>The folder of journal, catalog, index and caches.</summary>
    public required string StateFolder { get; init; }

    /// <summary>The store was made before: where no catalog of it can be read, opening fails instead of beginning an empty one in its place.</summary>
    public bool MustExist { get; init; }

    /// <summary>How many lost places the store's blocks survive; null: what the places allow (<see cref="Placing.Placement.DefaultSurvive"/>).</summary>
    public int? Survive { get; init; }

    /// <summary>Where its holders may lie, for what people are told; whoever configures holders applies it to them.</summary>
    public Placing.CountryRule Rule { get; init; } = Placing.CountryRule.None;

    /// <summary>zstd's level for blocks; the default: docs/decisions/compression-level.md.</summary>
    public int CompressionLevel { get; init; } = 3;

    /// <summary>Nominal bytes of a full arena; one of <see cref="ArenaLayout.NominalSizes"/>. Smaller only in tests.</summary>
    public int ArenaBytes { get; init; } = ArenaLayout.MaxNominalBytes;

    /// <summary>What an open arena holds at a flush beyond this is sealed instead of journaled.</summary>
    public int SealAtFlushBytes { get; init; } = 1024 * 1024;

    /// <summary>Clumps that stay in the journal for longer than this are sealed at the next flush.</summary>
    public int JournalDays { get; init; } = 1;

    /// <summary>Arenas that may be waiting to be sealed, each of <see cref="ArenaBytes"/> memory.</summary>
    public int SealingCount { get; init; } = 2;

    /// <summary>Where arenas are sealed, beside whoever writes.</summary>
    public TaskScheduler Sealing { get; init; } = TaskScheduler.Default;

    /// <summary>Memory for directories of sealed arenas.</summary>
    public long DirectoryCacheBytes { get; init; } = 32 * 1024 * 1024;

    /// <summary>Keeps what comes from holders that are slow, far or often away; null: nothing is kept. The store disposes of it.</summary>
    public WindowCache? Cache { get; init; }

    /// <summary>For readers: opens what a writer's index knows, called at the first block that is looked for. Null, or null from it: arenas' directories are searched.</summary>
    public Func<IBlockLookup?>? OpenLookup { get; init; }

    /// <summary>A reader that adopts arenas and heads in memory, to see what a recovery would find; nothing is written.</summary>
    public bool Rehearse { get; init; }

    /// <summary>Running days that deleted arenas stay in the trash.</summary>
    public int TrashDays { get; init; } = 7;
}

/// <summary>What a process means to do with a store.</summary>
public enum StoreAccess
{
    /// <summary>Reading beside a writer, from the last committed state. Writes nothing at all.</summary>
    Read,

    /// <summary>The one writer.</summary>
    Write,
}

/// <summary>A store cannot be opened or used as asked; the message is one line for a user.</summary>
public sealed class StoreException : StoreFailureException
{
    public StoreException(StoreProblem problem, string message)
        : base(message)
    {
        Problem = problem;
    }

    public StoreException(StoreProblem problem, string message, Exception inner)
        : base(message, inner)
    {
        Problem = problem;
    }

    public StoreException()
    {
    }

    public StoreException(string message)
        : base(message)
    {
    }

    public StoreException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public StoreProblem Problem { get; }

    /// <summary>With <see cref="StoreProblem.Locked"/>: what the writer says of itself.</summary>
    public string WrittenBy { get; init; } = "";
}

public enum StoreProblem
{
    /// <summary>There is no store, or what is there is not this account's.</summary>
    NotAStore,
    Locked,
    ReadOnly,
    Redundancy,

    /// <summary>An earlier write of this process failed; nothing more is written until the store is opened again.</summary>
    Failed,

    /// <summary>Another commit came first.</summary>
    HeadMoved,

    /// <summary>Too few holders could be reached.</summary>
    HoldersMissing,

    /// <summary>No copy of the catalog can be read.</summary>
    CatalogLost,

    /// <summary>Another device of the account has retired or revoked this one.</summary>
    Retired,

    /// <summary>The store is written under an epoch of the keys that the keyring does not have.</summary>
    KeysMissing,
}
