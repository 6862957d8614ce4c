using System.Collections.Concurrent;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Testing;

/// <summary>A store in memory, for whoever builds on <see cref="IVolumeStore"/>: scores as real as the store's, no arenas, nothing durable.</summary>
/// <remarks>
/// Domains do not share blocks. A block is as strong as the strongest write of it. Counts what is asked of it; blocks can be dropped, damaged,
/// or replaced by bytes that their score does not match, as no real store would give them out.
/// </remarks>
public sealed class MemoryVolumeStore : IVolumeStore
{
    private readonly object _gate = new();
    private readonly ConcurrentDictionary<DomainId, MemoryBlocks> _domains = new();
    private readonly List<Head> _heads = [];
    private readonly TimeProvider _clock;

    public MemoryVolumeStore(TimeProvider? clock = null, uint device = 1)
    {
        _clock = clock ?? TimeProvider.System;
        Device = device;
        Realm = new DomainId(new Bytes16(0, 1));
    }

    public DomainId Realm { get; }

    public uint Device { get; }

    /// <summary>Another one makes another line of heads, as after a loss of the state folder.</summary>
    public ulong Incarnation { get; set; } = 1;

    /// <summary>Where it keeps intents; null unless a test gives it one.</summary>
    public IJournal? Journal { get; init; }

    /// <summary>The realm's blocks.</summary>
    public MemoryBlocks Blocks => BlocksOf(Realm);

    public int CommitCount { get; private set; }

    /// <summary>Runs before a commit looks at the heads: a test lets another writer slip in, or throws.</summary>
    public Action? BeforeCommit { get; set; }

    public IReadOnlyList<Head> Heads
    {
        get
        {
            lock (_gate)
            {
                return [.. _heads.Where(head => !_heads.Exists(other => other.Supersedes(head)))];
            }
        }
    }

    public MemoryBlocks BlocksOf(DomainId domain) => _domains.GetOrAdd(domain, static id => new MemoryBlocks(id));

    public IBlockStore OpenBlocks(DomainId domain, int? survive) => survive is int other ? BlocksOf(domain).At(other) : BlocksOf(domain);

    public ReadOnlyMemory<byte> ChunkerSeed(DomainId domain)
    {
        byte[] seed = new byte[32];
        domain.Write(seed);
        return seed;
    }

    public Head NextHead(VolumeId volume, string volumeName, DomainId domain, IReadOnlyList<Head> follows) => new()
    {
        Volume = volume,
        VolumeName = volumeName,
        Domain = domain,
        Device = Device,
        Incarnation = Incarnation,
        Sequence = follows.Select(static head => head.Sequence).DefaultIfEmpty().Max() + 1,
        Previous = default,
        TimeNs = (_clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100,
        Root = default,
        Seen = Head.SeenAfter(follows, Device, Incarnation),
    };

    public ValueTask<Head> CommitAsync(Head next, CancellationToken cancel)
    {
        BeforeCommit?.Invoke();
        lock (_gate)
        {
            Head? present = _heads.Find(head => head.Volume == next.Volume && head.Device == Device && head.Incarnation == Incarnation);
            if (present is not null && next.Sequence != present.Sequence + 1)
            {
                throw new InvalidOperationException($"Volume {next.VolumeName}: the newest head is not the one that the new head follows.");
            }

            CommitCount++;
            _heads.RemoveAll(head => head == present);
            _heads.Add(next);
            return ValueTask.FromResult(next);
        }
    }

    /// <summary>Adds a head that another writer made.</summary>
    public void AddHead(Head head)
    {
        lock (_gate)
        {
            _heads.Add(head);
        }
    }
}

/// <summary>Intents in memory, for a <see cref="MemoryVolumeStore"/>.</summary>
public sealed class MemoryJournal : IJournal
{
    private readonly List<Intent> _intents = []; // guarded by itself

    /// <summary>Runs before a batch is taken: a test throws.</summary>
    public Action? BeforeAppend { get; set; }

    public int BatchCount { get; private set; }

    /// <summary>Whether the last batch named blocks.</summary>
    public bool NamedBlocks { get; private set; }

    public IReadOnlyList<Intent> Intents(VolumeId volume)
    {
        lock (_intents)
        {
            return [.. _intents.Where(intent => intent.Volume == volume)];
        }
    }

    public ValueTask AppendAsync(IReadOnlyList<Intent> batch, bool namesBlocks, CancellationToken cancel)
    {
        BeforeAppend?.Invoke();
        lock (_intents)
        {
            _intents.AddRange(batch.Select(static intent => intent with { Body = intent.Body.ToArray() }));
            BatchCount++;
            NamedBlocks = namesBlocks;
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Batches that were written ahead.</summary>
    public int AheadCount { get; private set; }

    public ValueTask AppendAheadAsync(IReadOnlyList<Intent> batch, CancellationToken cancel)
    {
        AheadCount++;
        return AppendAsync(batch, namesBlocks: false, cancel);
    }

    public void Forget(VolumeId volume, uint device, ulong incarnation, ulong sequence)
    {
        lock (_intents)
        {
            _intents.RemoveAll(intent => intent.Volume == volume && (intent.Sequence <= sequence || intent.Device != device || intent.Incarnation != incarnation));
        }
    }

    /// <summary>Takes the last part away, as a crash does that came in between.</summary>
    public void CutOff()
    {
        lock (_intents)
        {
            _intents.RemoveAt(_intents.Count - 1);
        }
    }
}

/// <summary>One domain's blocks of a <see cref="MemoryVolumeStore"/>.</summary>
public sealed class MemoryBlocks(DomainId domain) : IBlockStore
{
    /// <summary>What a store of four places gives.</summary>
    public const int DefaultSurvive = 1;
    public const int MaxSurvive = 3;

    private readonly ConcurrentDictionary<(Score Score, BlockType Type), byte[]> _blocks = new();
    private readonly ConcurrentDictionary<(Score Score, BlockType Type), int> _survive = new();
    private readonly Lock _gate = new();
    private readonly ConcurrentDictionary<Score, bool> _damaged = new();
    private long _reads;
    private long _writes;
    private long _writtenBytes;
    private long _flushes;

    /// <summary>Calls of ReadAsync.</summary>
    public long ReadCount => Interlocked.Read(ref _reads);

    /// <summary>Calls of WriteAsync, also of known blocks.</summary>
    public long WriteCount => Interlocked.Read(ref _writes);

    /// <summary>Plain bytes of blocks that were new.</summary>
    public long WrittenBytes => Interlocked.Read(ref _writtenBytes);

    public long FlushCount => Interlocked.Read(ref _flushes);

    public IReadOnlyCollection<(Score Score, BlockType Type)> Known => [.. _blocks.Keys];

    public byte[] Peek(Score score, BlockType type) => _blocks[(score, type)];

    /// <summary>The block is missing from now on, until it is written again.</summary>
    public bool Drop(Score score, BlockType type) => _blocks.TryRemove((score, type), out _);

    /// <summary>Reading the block fails from now on.</summary>
    public void Damage(Score score) => _damaged[score] = true;

    /// <summary>Gives out other bytes under a score.</summary>
    public void Replace(Score score, BlockType type, byte[] bytes) => _blocks[(score, type)] = bytes;

    /// <summary>How many lost places the block outlives.</summary>
    public int SurviveOf(Score score, BlockType type) => _survive[(score, type)];

    public int Survive => DefaultSurvive;

    public int Weakest => _survive.Values.DefaultIfEmpty(MaxSurvive).Min();

    public IBlockStore At(int survive) => Math.Min(survive, MaxSurvive) is int feasible && feasible == DefaultSurvive ? this : new View(this, feasible);

    public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain)
    {
        Span<byte> key = stackalloc byte[Blake3.KeySize];
        key.Clear();
        domain.Write(key);
        key[^1] = (byte)type;
        Span<byte> hash = stackalloc byte[Score.Size];
        Blake3.KeyedHash(key, plain, hash);
        return Score.Read(hash);
    }

    public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => Write(DefaultSurvive, type, plain, cancel);

    private ValueTask<BlockWrite> Write(int survive, BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(plain.Length, BlockLimits.MaxBlockBytes);
        cancel.ThrowIfCancellationRequested();
        Interlocked.Increment(ref _writes);
        Score score = ScoreOf(type, plain.Span);
        bool isStronger = false;
        lock (_gate)
        {
            if (!_survive.TryGetValue((score, type), out int present) || survive > present)
            {
                isStronger = true;
                _survive[(score, type)] = survive;
            }
        }

        if (!_blocks.TryAdd((score, type), plain.ToArray()) && !isStronger)
        {
            return ValueTask.FromResult(new BlockWrite(score, 0));
        }

        Interlocked.Add(ref _writtenBytes, plain.Length);
        return ValueTask.FromResult(new BlockWrite(score, plain.Length + 1));
    }

    public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        Interlocked.Increment(ref _reads);
        if (_damaged.ContainsKey(score))
        {
            throw new DamagedBlockException($"{type} block {score} is damaged, as the test asked.");
        }

        if (!_blocks.TryGetValue((score, type), out byte[]? bytes))
        {
            return ValueTask.FromResult(BlockRead.Missing);
        }

        if (target.Length < bytes.Length)
        {
            throw new ArgumentException($"The block has {bytes.Length} bytes, the target {target.Length}.", nameof(target));
        }

        bytes.CopyTo(target);
        return ValueTask.FromResult(new BlockRead(true, bytes.Length));
    }

    public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => ValueTask.FromResult(Contains(DefaultSurvive, score, type));

    private bool Contains(int survive, Score score, BlockType type) => _blocks.ContainsKey((score, type)) && _survive[(score, type)] >= survive;

    public ValueTask FlushAsync(CancellationToken cancel)
    {
        Interlocked.Increment(ref _flushes);
        return ValueTask.CompletedTask;
    }

    private sealed class View(MemoryBlocks all, int survive) : IBlockStore
    {
        public int Survive => survive;

        public int Weakest => all.Weakest;

        public IBlockStore At(int other) => all.At(other);

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => all.ScoreOf(type, plain);

        public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => all.Write(survive, type, plain, cancel);

        public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) => all.ReadAsync(score, type, target, cancel);

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => ValueTask.FromResult(all.Contains(survive, score, type));

        public ValueTask FlushAsync(CancellationToken cancel) => all.FlushAsync(cancel);
    }
}
