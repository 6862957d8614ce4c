using System.Buffers;
using System.Buffers.Binary;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>Blocks by score over arenas, fragments and holders: one account's store as one device sees it.</summary>
/// <remarks>
/// Source: Quinlan and Dorward, Venti (FAST 2002), with sealed arenas coded into fragments.
/// One process writes (<see cref="StoreAccess.Write"/>, held by a lock file); any number read beside it from the last committed state.
/// Durable: blocks once a flush returned; a head once <see cref="CommitAsync"/> returned.
/// Locks, in the order they are taken: commit gate, flush gate, a bin's gate, an arena buffer's gate; id gate, catalog log, holder room, catalog. No I/O under a buffer's gate.
/// Errors: a failed write of journal, catalog or fragments fails the store for this process (<see cref="StoreProblem.Failed"/>); what was acknowledged is safe.
/// </remarks>
public sealed partial class BlockStore : IVolumeStore, IJournal, IAsyncDisposable
{
    private const int ReadAttempts = 4;

    /// <summary>What is added to the name of a volume whose head no known device signed.</summary>
    public const string UnsignedSuffix = " (unsigned)";

    /// <summary>Hexadecimal digits of a volume's id that tell it from another of its name.</summary>
    private const int NameDigits = 8;

    private readonly IDisk _disk;
    private readonly StoreOptions _options;
    private readonly StoreKeys _keys;
    private readonly TimeProvider _clock;
    private readonly IRandomSource _random;
    private readonly Dictionary<DomainId, KeyDomain> _domains;
    private readonly uint _device;
    private readonly Compressor _compressor = new();
    private readonly SemaphoreSlim _commitGate = new(1, 1);
    private readonly CatalogLog _catalogLog;
    private readonly Journal _journal;
    private readonly HolderRoom _room;
    private readonly ArenaReader _reader;
    private readonly IDisposable? _lock;
    private readonly LogHeads _logHeads;
    private readonly Lazy<IBlockLookup?> _lookup;
    private IBlockIndex? _index;
    private volatile Exception? _failure;
    private volatile ShownHeads? _shownHeads;
    private volatile HolderTable _table;
    private bool _isDisposed;

    private BlockStore(
        IDisk disk,
        StoreOptions options,
        StoreKeys keys,
        TimeProvider clock,
        IRandomSource random,
        CatalogLog catalogLog,
        Journal journal,
        List<StoreHolder> holders,
        IDisposable? writerLock,
        LogHeads logHeads)
    {
        _disk = disk;
        _options = options;
        _keys = keys;
        _clock = clock;
        _random = random;
        _device = keys.Device;
        _domains = keys.Domains.ToDictionary(static domain => domain.Id);
        _catalogLog = catalogLog;
        _journal = journal;
        _table = new HolderTable(holders, new Placement(holders, options.Rule));
        _room = new HolderRoom(catalogLog.Catalog, _table);
        _lock = writerLock;
        _logHeads = logHeads;
        _buffers = new ArenaBufferPool(options.ArenaBytes);
        _sealSlots = new SemaphoreSlim(options.SealingCount, options.SealingCount);
        _reader = new ArenaReader(_domains, HolderOf, options.DirectoryCacheBytes, options.Cache, clock, Note);
        _directories = new DirectorySearch(catalogLog.Catalog, _reader);
        _lookup = new Lazy<IBlockLookup?>(() => writerLock is null ? options.OpenLookup?.Invoke() : null);
    }

    public DomainId Realm => _keys.Realm.Id;

    public uint Device => _device;

    public ulong Incarnation => _catalogLog.Incarnation;

    public bool IsWritable => _lock is not null;

    /// <summary>What is kept of holders that are slow, far or often away; null: nothing.</summary>
    public WindowCache? Cache => _options.Cache;

    public Catalog Catalog => _catalogLog.Catalog;

    /// <summary>By their numbers in the catalog, as they are now.</summary>
    public IReadOnlyList<StoreHolder> Holders => _table.Holders;

    public Placement Placement => _table.Placement;

    /// <summary>Holders on other machines alone: what arenas that are away keep their promises by.</summary>
    internal Placement Away => _table.Away;

    /// <summary>Those of them that can be counted on now.</summary>
    internal Placement AwayNow => _table.AwayNow;

    internal Placement PlacementOf(ArenaRecord arena) => arena.IsAway ? Away : Placement;

    /// <summary>By fragment index, those that count for the arena: of one that is away none here does.</summary>
    internal StoreHolder?[] HoldersOf(ArenaRecord arena) =>
        [.. arena.Fragments.Select(fragment => HolderOf(fragment.Holder)).Select(holder => arena.IsAway && holder is { IsElsewhere: false } ? null : holder)];

    /// <summary>What the quotas of holders leave.</summary>
    internal HolderRoom Room => _room;

    /// <summary>From here on this process may pass the holders' quotas: it writes little in order to give back more.</summary>
    public void PassQuotas() => _room.IsIgnored = true;

    /// <summary>The store's own promise, where a directory says nothing else.</summary>
    public int DefaultSurvive => SurviveWith(Placement);

    /// <summary>The same over other places.</summary>
    internal int SurviveWith(Placement placement) => _options.Survive ?? Placement.DefaultSurvive(placement.PlaceCount);

    /// <summary>Lines for people about what the store met and mended: a damaged window, a holder away.</summary>
    public event Action<string>? Noted;

    /// <summary>Image bytes that this process sealed, padding included and parity not.</summary>
    public long SealedBytes => Interlocked.Read(ref _sealedBytes);

    /// <summary>Clump bytes in the journal.</summary>
    public long JournaledBytes => _journaledBytes;

    /// <summary>The heads that no other supersedes, each with the name that its volume is shown under.</summary>
    /// <remarks>Every sync of an open volume asks, and who signed a head is found by calculating: so the answer is kept until the catalog has another record.</remarks>
    public IReadOnlyList<Head> Heads
    {
        get
        {
            ulong sequence = Catalog.Sequence; // before the heads: a record that comes in between makes them be looked at once more
            if (_shownHeads is { } shown && shown.Sequence == sequence)
            {
                return shown.Heads;
            }

            List<Head> heads = NamedHeads();
            heads = heads.ConvertAll(head => head with { VolumeName = DistinctName(head, heads) });
            _shownHeads = new ShownHeads(sequence, heads);
            return heads;
        }
    }

    /// <summary>Names of volumes that the catalog has and the keyring has no keys for, ascending: their domain was burned, or never came back from the words.</summary>
    public IReadOnlyList<string> UnreadableVolumes =>
        [.. Catalog.Heads().Where(signed => !_domains.ContainsKey(signed.Head.Domain)).Select(signed => Shown(signed).VolumeName).Distinct().Order(StringComparer.Ordinal)];

    /// <summary>The key domain of such a volume; null: there is none of that name.</summary>
    public DomainId? DomainOfUnreadable(string volume)
    {
        List<SignedHead> heads = [.. Catalog.Heads().Where(signed => !_domains.ContainsKey(signed.Head.Domain) && Shown(signed).VolumeName == volume)];
        return heads.Count > 0 ? heads[0].Head.Domain : null;
    }

    /// <summary>Whether the keyring has the keys of an arena, its domain's and its epoch's. What it lacks is no damage: the fragments are kept and mended like any other's.</summary>
    internal bool HasKeysOf(ArenaRecord arena) => _domains.TryGetValue(arena.Domain, out KeyDomain? domain) && domain.HasEpoch(arena.Epoch);

    /// <summary>Whether the keyring has a domain at all: it was not burned.</summary>
    internal bool HasDomain(DomainId domain) => _domains.ContainsKey(domain);

    public ReadOnlyMemory<byte> ChunkerSeed(DomainId domain)
    {
        byte[] seed = new byte[32];
        DomainOf(domain).GearSeed(seed);
        return seed;
    }

    public IBlockStore OpenBlocks(DomainId domain, int? survive)
    {
        int wanted = survive ?? DefaultSurvive;
        return Placement.ClassFor(wanted) is null && IsWritable
            ? throw new StoreException(StoreProblem.Redundancy, Placement.CannotSurvive(wanted))
            : new DomainBlocks(this, DomainOf(domain), wanted);
    }

    internal int WeakestOf(DomainId domain)
    {
        IEnumerable<int> arenas = Catalog.Arenas().Where(arena => arena.Domain == domain && arena.State == ArenaState.Sealed).Select(static arena => arena.Survive);
        return arenas.Concat(_bins.Keys.Where(key => key.Domain == domain).Select(static key => key.Survive)).DefaultIfEmpty(Placement.MaxSurvive).Min();
    }

    /// <summary>What a wish comes to: no more than the places there are allow.</summary>
    internal int Feasible(int survive) => Math.Min(survive, Placement.MaxSurvive);

    public Head NextHead(VolumeId volume, string volumeName, DomainId domain, IReadOnlyList<Head> follows)
    {
        ArgumentNullException.ThrowIfNull(follows);
        SignedHead? previous = follows.Count == 0 ? null : Catalog.Heads().FirstOrDefault(signed => IsSame(signed.Head, follows[0]));
        return new Head
        {
            Volume = volume,
            VolumeName = previous is not null && Shown(previous) is { } named && volumeName == DistinctName(named, Heads) ? named.VolumeName : volumeName,
            Domain = domain,
            Device = _device,
            Incarnation = Incarnation,
            Sequence = follows.Select(static head => head.Sequence).DefaultIfEmpty().Max() + 1,
            Previous = previous?.Hash ?? default,
            TimeNs = NowNs(),
            Root = default,
            Seen = Head.SeenAfter(follows, _device, Incarnation),
        };
    }

    // A crash before the catalog's sync leaves the old head; after it, the new one. The holders' copies follow and only ever lag.
    public async ValueTask<Head> CommitAsync(Head next, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(next);
        ThrowIfNotWritable();
        await _commitGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            SignedHead? newest = Catalog.NewestHead(next.Volume, _device, Incarnation);
            // What it goes on from decides: its sequence counts on from the highest of all lines that it contains, whichever is ours.
            if (next.Incarnation != Incarnation || next.Device != _device
                || (newest is not null && (next.Previous != newest.Hash || !next.Supersedes(newest.Head)))
                || Catalog.Heads().Any(known => known.Head.Supersedes(next)))
            {
                throw new StoreException(StoreProblem.HeadMoved, $"volume {next.VolumeName}: another commit came first (head {newest?.Head.Sequence ?? 0}, the one offered is {next.Sequence})");
            }

            await FlushAsync(cancel).ConfigureAwait(false);                                   // 1. every block below the root
            SignedHead signed = HeadCodec.Sign(next, _keys.DeviceKeys);
            try
            {
                _catalogLog.Append(writer => Catalog.WriteHead(writer, signed));              // 2. the head: one record
                _catalogLog.Sync();
            }
            catch (Exception failure)
            {
                Fail(failure);
                throw;
            }

            await PublishLockedAsync(cancel).ConfigureAwait(false);                           // 3. the holders
            return next with { VolumeName = DistinctName(next, Heads) };
        }
        finally
        {
            _commitGate.Release();
        }
    }

    private static bool IsSame(Head one, Head other) =>
        one.Volume == other.Volume && one.Device == other.Device && one.Incarnation == other.Incarnation && one.Sequence == other.Sequence;

    /// <summary>Whether a device that this account certified signed the head, or this device rebuilt it from its root.</summary>
    public bool IsVouchedFor(SignedHead head)
    {
        ArgumentNullException.ThrowIfNull(head);
        return HeadCodec.IsRebuilt(head)
            || (head.Head.Device == _device && HeadCodec.Verify(head, _keys.DeviceKeys.PublicKey))
            || (Statements.GetValueOrDefault(head.Head.Device) is not { State: DeviceState.Revoked } said || said.Covers(head.Head))
                && Catalog.Certificates().Any(certificate =>
                    certificate.DeviceNumber == head.Head.Device && certificate.IsSignedBy(_keys.AccountPublicKey.Span) && HeadCodec.Verify(head, certificate.DevicePublicKey));
    }

    /// <summary>A head that nobody vouches for is kept, and its volume has another name, so that nothing is joined with it and everybody sees it.</summary>
    private Head Shown(SignedHead signed) => IsVouchedFor(signed) ? signed.Head : signed.Head with { VolumeName = signed.Head.VolumeName + UnsignedSuffix };

    private List<Head> NamedHeads() => [.. Catalog.Heads().Where(signed => _domains.ContainsKey(signed.Head.Domain)).Select(Shown)];

    /// <summary>Two volumes of one name come from copies of a state folder that each made theirs. The lowest id keeps the name, and the first digits of its own id stand
    /// behind the name of any other: the same wherever both are seen, whatever is committed to them. The heads themselves keep the name that was given.</summary>
    private static string DistinctName(Head head, IReadOnlyList<Head> all) =>
        all.Any(other => other.VolumeName == head.VolumeName && (other.Volume.Bytes.High, other.Volume.Bytes.Low).CompareTo((head.Volume.Bytes.High, head.Volume.Bytes.Low)) < 0)
            ? $"{head.VolumeName} ({head.Volume.ToString()[..NameDigits]})"
            : head.VolumeName;

    /// <summary>What holders have not got yet, one line each; empty when nothing lags.</summary>
    public IReadOnlyList<string> Lag()
    {
        var lines = new List<string>();
        List<IFragmentHolder> withJournal = JournalHolders();
        foreach (StoreHolder holder in Holders.Where(static holder => !holder.IsGone))
        {
            if (holder.Problem is not null)
            {
                lines.Add($"holder {holder.Place}: {holder.Problem}");
            }
            else if (holder.Holder is not null
                && (_catalogLog.Lag.GetValueOrDefault(holder.Id) ?? _journal.Lag.GetValueOrDefault(holder.Id)
                    ?? (IsWritable ? null : _catalogLog.Missing(holder.Id) ?? (withJournal.Contains(holder.Holder) ? _journal.Missing(holder.Id) : null))) is { } line) // a writer publishes at its end
            {
                lines.Add($"holder {holder.Place}: {line}");
            }
        }

        return lines;
    }

    /// <param name="wantsParts">Whether the caller would fetch parts of the block later.</param>
    internal async ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadAsync(KeyDomain domain, Score score, BlockType type, Memory<byte> target, bool wantsParts, CancellationToken cancel)
    {
        for (int attempt = 0; attempt < ReadAttempts; attempt++)
        {
            if (_pending.TryGetValue(score, out PendingClump? pending) && pending.Buffer.Key.Domain == domain.Id)
            {
                if (TryReadPending(domain, pending, type, target, out BlockRead found))
                {
                    return (found, null);
                }

                continue; // it moved while we looked: sealed, or carved
            }

            if (Locate(domain.Id, score) is not { } place)
            {
                if (_pending.ContainsKey(score))
                {
                    continue;
                }

                return Missing(domain.Id, score);
            }

            return await ReadClumpAsync(domain, score, type, place, target, wantsParts, cancel).ConfigureAwait(false);
        }

        return Missing(domain.Id, score);
    }

    /// <exception cref="DamagedBlockException">It may be in an arena that cannot be read now.</exception>
    private (BlockRead Read, IBlockParts? Parts) Missing(DomainId domain, Score score) => _directories.WhyUnread(domain) is { } failure
        ? throw new DamagedBlockException($"block {score} is in no arena that can be read, and one cannot be: {failure.Message}", failure)
        : (BlockRead.Missing, null);

    private bool TryReadPending(KeyDomain domain, PendingClump pending, BlockType type, Memory<byte> target, out BlockRead found)
    {
        found = default;
        CheckTarget(pending.PlainBytes, target.Length);
        byte[] clump = ArrayPool<byte>.Shared.Rent(pending.Length);
        byte[] scratch = ArrayPool<byte>.Shared.Rent(pending.Length);
        try
        {
            uint epoch = pending.Buffer.Key.Epoch;
            if (!ArenaBuffer.TryCopy(pending, domain, clump))
            {
                return false;
            }

            if (!Clump.TryRead(domain, epoch, pending.Score, type, clump.AsSpan(0, pending.Length), _compressor, scratch, target.Span, out int bytes))
            {
                throw new DamagedBlockException($"block {pending.Score}: its clump in memory or journal does not decrypt to it");
            }

            found = new BlockRead(true, bytes);
            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
            ArrayPool<byte>.Shared.Return(clump);
        }
    }

    private async ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadClumpAsync(
        KeyDomain domain, Score score, BlockType type, ClumpPlace place, Memory<byte> target, bool wantsParts, CancellationToken cancel)
    {
        byte[] clump = ArrayPool<byte>.Shared.Rent(place.Length);
        byte[] scratch = ArrayPool<byte>.Shared.Rent(place.Length);
        try
        {
            Memory<byte> bytes = clump.AsMemory(0, place.Length);
            if (await _reader.TryReadClumpAsync(place.Arena, place.Offset, bytes, cancel).ConfigureAwait(false)
                && Clump.TryRead(domain, place.Arena.Epoch, score, type, bytes.Span, _compressor, scratch, target.Span, out int plainBytes))
            {
                _ = Dare.TryPlainBytes(bytes.Length, out int innerBytes);
                ClumpParts? parts = wantsParts
                    ? ClumpParts.Of(Catalog, _reader, domain, score, place, bytes.Span, scratch.AsSpan(0, innerBytes), target.Span[..plainBytes])
                    : null;
                return (new BlockRead(true, plainBytes), parts);
            }

            // Either the bytes are damaged, or the cached place is wrong: the arena's own directory decides.
            ArenaDirectory directory = await _reader.DirectoryAsync(place.Arena, cancel).ConfigureAwait(false);
            int entryIndex = directory.Find(score);
            if (entryIndex < 0)
            {
                return await ReadElsewhereAsync(domain, score, type, place.Arena, target, wantsParts, cancel).ConfigureAwait(false);
            }

            ClumpEntry entry = directory[entryIndex];
            CheckTarget(entry.PlainBytes, target.Length);
            if (entry.Length > clump.Length)
            {
                ArrayPool<byte>.Shared.Return(clump);
                clump = ArrayPool<byte>.Shared.Rent(entry.Length);
                ArrayPool<byte>.Shared.Return(scratch);
                scratch = ArrayPool<byte>.Shared.Rent(entry.Length);
            }

            bytes = clump.AsMemory(0, entry.Length);
            await _reader.ReadVerifiedAsync(place.Arena, entry.Offset, bytes, cancel).ConfigureAwait(false);
            if (!Clump.TryRead(domain, place.Arena.Epoch, score, type, bytes.Span, _compressor, scratch, target.Span, out plainBytes))
            {
                throw new DamagedBlockException($"block {score} in arena {place.Arena.Ordinal}: its fragments are whole and its clump is not; it was damaged before it was sealed");
            }

            return (new BlockRead(true, plainBytes), null);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
            ArrayPool<byte>.Shared.Return(clump);
        }
    }

    /// <summary>The index named an arena that does not hold the block: it is only a cache. The directories are the truth.</summary>
    private async ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadElsewhereAsync(
        KeyDomain domain, Score score, BlockType type, ArenaRecord wrong, Memory<byte> target, bool wantsParts, CancellationToken cancel)
    {
        if (FindInDirectories(domain.Id, score) is { } place && place.Arena.Ordinal != wrong.Ordinal)
        {
            _index?.Add(score, new BlockLocation(place.Arena.Ordinal, place.Offset, place.Length));
            return await ReadClumpAsync(domain, score, type, place, target, wantsParts, cancel).ConfigureAwait(false);
        }

        return Missing(domain.Id, score);
    }

    /// <summary>Where a sealed block lies: by the index, else by the directories. Trashed arenas count last, and only for reading.</summary>
    internal ClumpPlace? Locate(DomainId domain, Score score)
    {
        if ((_index ?? _lookup.Value) is { } known && known.TryFind(score, out BlockLocation location)
            && Catalog.Arena(location.ArenaOrdinal) is { } arena && arena.Domain == domain && arena.State != ArenaState.Trashed)
        {
            return new ClumpPlace(arena, location.Offset, location.Length);
        }

        return FindInDirectories(domain, score);
    }

    /// <summary>Where the strongest copy of a sealed block lies: for whoever asks how well it is kept.</summary>
    internal ClumpPlace? LocateStrongest(DomainId domain, Score score) =>
        _index is null && (_lookup.Value is null || !_directories.AreAllOfOneClass) ? _directories.Find(domain, score, isAnyCopy: false) : Locate(domain, score);

    /// <summary>By the directories alone. A reader takes any copy; a writer wants to know the strongest.</summary>
    private ClumpPlace? FindInDirectories(DomainId domain, Score score) => _directories.Find(domain, score, isAnyCopy: !IsWritable);

    private static void CheckTarget(int plainBytes, int targetBytes)
    {
        if (targetBytes < plainBytes)
        {
            throw new ArgumentException($"the block has {plainBytes} bytes and the target {targetBytes}");
        }
    }

    internal KeyDomain DomainOf(DomainId domain) =>
        _domains.GetValueOrDefault(domain) ?? throw new StoreException(StoreProblem.NotAStore, $"the keyring has no key domain {domain}");

    internal StoreHolder? HolderOf(ushort number) => Holders is { } holders && number < holders.Count ? holders[number] : null;

    private List<IFragmentHolder> ReachableHolders() => [.. Holders.Where(static holder => holder is { Holder: not null, IsGone: false }).Select(static holder => holder.Holder!)];

    /// <summary>The holders that keep the journal: one in each of the first 1 + survive places, for the strongest class in use.</summary>
    internal List<IFragmentHolder> JournalHolders()
    {
        return [.. Holders.Where(static holder => holder is { Holder: not null, IsGone: false })
            .DistinctBy(static holder => holder.Place, StringComparer.Ordinal).Take(1 + JournalSurvive()).Select(static holder => holder.Holder!)];
    }

    /// <summary>How many lost places the journal is to outlive: as many as the strongest class in use.</summary>
    private int JournalSurvive()
    {
        int survive = DefaultSurvive;
        foreach (BinKey key in _bins.Keys)
        {
            survive = Math.Max(survive, key.Survive);
        }

        return survive;
    }

    private void Note(string line) => Noted?.Invoke(line);

    private void Fail(Exception failure) => _failure ??= failure is AggregateException { InnerExceptions.Count: 1 } one ? one.InnerException : failure;

    private void ThrowIfNotWritable()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (_lock is null)
        {
            throw new StoreException(StoreProblem.ReadOnly, "the store was opened for reading");
        }

        if (_failure is { } failure)
        {
            throw new StoreException(StoreProblem.Failed, $"an earlier write failed ({failure.Message}); nothing more is written until the store is opened again", failure);
        }
    }

    private const int SecondsADay = 86_400;

    private ulong NewIncarnation() => RandomIncarnation(_random);

    private static ulong RandomIncarnation(IRandomSource random)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        random.Fill(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes) | 1; // never 0, which says "none"
    }

    private long NowSeconds() => _clock.GetUtcNow().ToUnixTimeSeconds();

    private long NowNs() => (_clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100;

    private uint Today() => (uint)Math.Max(0, NowSeconds() / SecondsADay);
}

/// <summary>Heads as they are shown, and the catalog's sequence when they were.</summary>
internal sealed record ShownHeads(ulong Sequence, IReadOnlyList<Head> Heads);

/// <summary>Where a clump lies.</summary>
internal readonly record struct ClumpPlace(ArenaRecord Arena, int Offset, int Length);

/// <summary>What a store needs of the keyring.</summary>
public sealed record StoreKeys
{
    public required uint Device { get; init; }

    public required DeviceKeys DeviceKeys { get; init; }

    public required DeviceCertificate Certificate { get; init; }

    public required KeyDomain Realm { get; init; }

    /// <summary>Every domain, the realm among them.</summary>
    public required IReadOnlyList<KeyDomain> Domains { get; init; }

    public required AccountTag Tag { get; init; }

    public required SecretBytes AnchorKey { get; init; }

    public required ReadOnlyMemory<byte> AccountPublicKey { get; init; }

    /// <summary>Makes a domain's epochs durable in the keyring's file, before anything rests on them; null: whoever opened the store does it when it is closed, and no epoch is begun here.</summary>
    public Action<KeyDomain>? Keep { get; init; }

    /// <summary>The key to which domains are wrapped for whoever has the words.</summary>
    public required ReadOnlyMemory<byte> RecoveryPublicKey { get; init; }
}

/// <summary>One domain at one redundancy.</summary>
internal sealed class DomainBlocks(BlockStore store, KeyDomain domain, int survive) : IBlockStore
{
    public int Survive => survive;

    public int Weakest => store.WeakestOf(domain.Id);

    public IBlockStore At(int other) => store.Feasible(other) == survive ? this : new DomainBlocks(store, domain, store.Feasible(other));

    public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => Clump.ScoreOf(domain, type, plain);

    public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => store.WriteAsync(domain, survive, type, plain, cancel);

    public async ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) =>
        (await store.ReadAsync(domain, score, type, target, wantsParts: false, cancel).ConfigureAwait(false)).Read;

    public ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadWithPartsAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) =>
        store.ReadAsync(domain, score, type, target, wantsParts: true, cancel);

    public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => ValueTask.FromResult(store.IsKnown(domain.Id, score, survive));

    public ValueTask FlushAsync(CancellationToken cancel) => store.FlushAsync(cancel);
}
