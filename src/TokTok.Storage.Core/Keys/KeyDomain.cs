using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Keys;

/// <summary>What a key domain is for. Values are part of the format.</summary>
public enum DomainKind : byte
{
    /// <summary>Shared by the devices of one account; wrapped to the recovery key, too.</summary>
    Realm = 1,

    /// <summary>A burnable volume's own: in keyrings only, so that erasing it there is the end of it.</summary>
    Burnable = 2,

    /// <summary>A messenger session's own.</summary>
    Session = 3,
}

/// <summary>The secrets within which blocks deduplicate: one score key, one chunker seed, and key bases per epoch.</summary>
/// <remarks>Format: docs/format.md 3.2. Subkeys: BLAKE3 derive_key, one written context each.
/// Units: every secret and every subkey is 32 bytes.
/// Invariant: epochs rise strictly and there is at least one; an epoch's bases never change; the score key and the seed never rotate.
/// Locks: <c>lock (_gate)</c> orders writers; readers take the epoch list, replaced as a whole, without it. The derivations are safe from several threads and allocate nothing.
/// Ownership: whoever made it disposes it; nobody derives at that time or later.</remarks>
public sealed class KeyDomain : IDisposable
{
    public const int SecretSize = 32, SubkeySize = 32;
    public const int MaximumEpochs = 1024;

    /// <summary>An epoch's number is a counter above these bits, and in them the number of the device that made it: two that begin one without knowing of each other take two numbers.</summary>
    public const int MakerBits = 23;

    /// <summary>The highest counter there is room for.</summary>
    public const uint MaximumCounter = uint.MaxValue >> MakerBits;

    public const int MaximumBytes = HeaderSize + MaximumEpochs * EpochSize;

    private const byte Version = 1;
    private const int HeaderSize = 1 + 1 + 2 + DomainId.Size + 2 * SecretSize + sizeof(ushort) + 2;
    private const int EpochSize = sizeof(uint) + 2 * SecretSize;

    private const string ScoreContext = "tdfs 2026-11 score key v1";
    private const string GearContext = "tdfs 2026-11 gear seed v1";
    private const string BlockContext = "tdfs 2026-11 block key v1";
    private const string ArenaContext = "tdfs 2026-11 arena key v1";
    private const string LogContext = "tdfs 2026-11 log key v1";

    private static readonly byte[] s_blockContext = ContextKey(BlockContext);
    private static readonly byte[] s_arenaContext = ContextKey(ArenaContext);
    private static readonly byte[] s_logContext = ContextKey(LogContext);

    private readonly Lock _gate = new();
    private readonly SecretBytes _scoreKey;
    private readonly SecretBytes _chunkerSeed;
    private readonly SecretBytes?[] _scoreKeys = new SecretBytes?[256];
    private volatile EpochKeys[] _epochs;
    private volatile uint _current; // 0: the newest

    private KeyDomain(DomainId id, DomainKind kind, SecretBytes scoreKey, SecretBytes chunkerSeed, EpochKeys[] epochs)
    {
        Debug.Assert(epochs.Length > 0, "a key domain has an epoch");
        Id = id;
        Kind = kind;
        _scoreKey = scoreKey;
        _chunkerSeed = chunkerSeed;
        _epochs = epochs;
    }

    public DomainId Id { get; }

    public DomainKind Kind { get; }

    /// <summary>What is written now is written under it: the newest, unless <see cref="Use"/> said otherwise.</summary>
    public uint CurrentEpoch => _current is var chosen and not 0 ? chosen : _epochs[^1].Number;

    /// <summary>The epochs whose keys are here, rising.</summary>
    public IReadOnlyList<uint> Epochs => Array.ConvertAll(_epochs, epoch => epoch.Number);

    /// <summary>A new domain with epoch 1. Everything in it is random.</summary>
    public static KeyDomain Create(DomainKind kind, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        return new KeyDomain(
            DomainId.New(random), kind, SecretBytes.Random(random, SecretSize), SecretBytes.Random(random, SecretSize), [EpochKeys.Create(1, random)]);
    }

    public bool HasEpoch(uint epoch) => Find(epoch) is not null;

    /// <summary>The device that made an epoch, by its number; of the first epoch of a domain 1.</summary>
    public static uint MakerOf(uint epoch) => epoch & ((1u << MakerBits) - 1);

    /// <summary>From here on is written under this one, whichever come later.</summary>
    public void Use(uint epoch)
    {
        _ = Get(epoch);
        _current = epoch;
    }

    /// <summary>The same secrets, apart: what is added to one is not in the other.</summary>
    public KeyDomain Copy()
    {
        using SecretBytes secret = Serialize();
        return Read(secret.Span);
    }

    /// <summary>Takes the epochs of another copy of this domain that are missing here. What is here keeps its bytes, and what is written under stays what it is if it was chosen.</summary>
    /// <param name="conflicts">Numbers that stand for other bytes there: one of the two did not make it, or lies.</param>
    /// <returns>How many were taken.</returns>
    /// <exception cref="DamagedFormatException">It is another domain, has another score key or seed, or would make more than <see cref="MaximumEpochs"/>; nothing is taken then.</exception>
    public int Merge(KeyDomain other, out IReadOnlyList<uint> conflicts)
    {
        ArgumentNullException.ThrowIfNull(other);
        RequireSame(other);
        lock (_gate)
        {
            var different = new List<uint>();
            var merged = new SortedDictionary<uint, EpochKeys>(_epochs.ToDictionary(static epoch => epoch.Number));
            int count = merged.Count;
            foreach (EpochKeys theirs in other._epochs)
            {
                if (!merged.TryGetValue(theirs.Number, out EpochKeys? ours))
                {
                    merged.Add(theirs.Number, theirs);
                }
                else if (!ours.IsSame(theirs))
                {
                    different.Add(theirs.Number);
                }
            }

            if (merged.Count > MaximumEpochs)
            {
                throw new DamagedFormatException($"key domain {Id}: {merged.Count} epochs found, at most {MaximumEpochs} expected");
            }

            EpochKeys[] old = _epochs;
            _epochs = [.. merged.Values.Select(epoch => old.Contains(epoch) ? epoch : epoch.Copy())];
            conflicts = different;
            return merged.Count - count;
        }
    }

    /// <summary>One domain of several copies of it, as wraps by different devices bring them: the union of their epochs. Where two say different things, of an epoch its maker is believed, else whoever has the lowest number.</summary>
    /// <param name="copies">Of one domain, each with the device that wrapped it. They stay the caller's.</param>
    /// <param name="note">Gets a line for each that was not believed.</param>
    public static KeyDomain Union(IReadOnlyList<(KeyDomain Domain, uint Device)> copies, Action<string> note)
    {
        ArgumentNullException.ThrowIfNull(copies);
        ArgumentNullException.ThrowIfNull(note);
        List<(KeyDomain Domain, uint Device)> ordered = [.. copies.OrderBy(static copy => copy.Device)];
        KeyDomain first = ordered[0].Domain;
        var epochs = new SortedDictionary<uint, (EpochKeys Keys, uint Device)>();
        foreach ((KeyDomain copy, uint device) in ordered)
        {
            try
            {
                first.RequireSame(copy);
            }
            catch (DamagedFormatException damage)
            {
                note($"{damage.Message}, in what device {device} wrapped; device {ordered[0].Device} is believed");
                continue;
            }

            foreach (EpochKeys keys in copy._epochs)
            {
                if (!epochs.TryGetValue(keys.Number, out (EpochKeys Keys, uint Device) known))
                {
                    epochs[keys.Number] = (keys, device);
                }
                else if (!known.Keys.IsSame(keys))
                {
                    bool isMakers = device == MakerOf(keys.Number) && known.Device != device;
                    note($"key domain {first.Id}, epoch {keys.Number}: devices {known.Device} and {device} wrapped different keys; device {(isMakers ? device : known.Device)} is believed");
                    epochs[keys.Number] = isMakers ? (keys, device) : known;
                }
                else if (device == MakerOf(keys.Number))
                {
                    epochs[keys.Number] = (known.Keys, device);
                }
            }
        }

        if (epochs.Count > MaximumEpochs)
        {
            note($"key domain {first.Id}: {epochs.Count} epochs found, at most {MaximumEpochs} expected; the lowest are taken");
        }

        return new KeyDomain(
            first.Id, first.Kind, SecretBytes.CopyOf(first._scoreKey.Span), SecretBytes.CopyOf(first._chunkerSeed.Span),
            [.. epochs.Values.Take(MaximumEpochs).Select(static epoch => epoch.Keys.Copy())]);
    }

    /// <summary>Starts the next epoch of a domain that nobody else has: what is written from now on is unreadable to whoever lacks it.</summary>
    public uint AddEpoch(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        lock (_gate)
        {
            EpochKeys[] old = _epochs;
            if (old.Length == MaximumEpochs)
            {
                throw new InvalidOperationException($"Domain {Id} has {MaximumEpochs} epochs, the most there can be.");
            }

            EpochKeys added = EpochKeys.Create(old[^1].Number + 1, random);
            _epochs = [.. old, added];
            return added.Number;
        }
    }

    /// <summary>Begins an epoch with a number that no other device takes.</summary>
    /// <param name="device">Who makes it.</param>
    /// <param name="after">The newest of the epochs that count: its counter is above that one's.</param>
    /// <exception cref="InvalidOperationException">There is no room for another.</exception>
    public uint AddEpoch(uint device, uint after, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        ArgumentOutOfRangeException.ThrowIfZero(device);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(device, DeviceCertificate.MaximumDeviceNumber);
        lock (_gate)
        {
            uint counter = (after >> MakerBits) + 1;
            while (counter <= MaximumCounter && HasEpoch((counter << MakerBits) | device))
            {
                counter++; // one that was made and never written under
            }

            if (counter > MaximumCounter || _epochs.Length == MaximumEpochs)
            {
                throw new InvalidOperationException($"Domain {Id} has {_epochs.Length} epochs, the newest that counts {after}, and room for no more.");
            }

            EpochKeys added = EpochKeys.Create((counter << MakerBits) | device, random);
            _epochs = [.. _epochs.Append(added).OrderBy(static epoch => epoch.Number)];
            return added.Number;
        }
    }

    /// <summary>The key of keyed BLAKE3 for blocks of one type: the type is thus part of the score. Derived once, then kept.</summary>
    public ReadOnlySpan<byte> ScoreKey(byte blockType)
    {
        SecretBytes? key = Volatile.Read(ref _scoreKeys[blockType]);
        return key is not null ? key.Span : DeriveScoreKey(blockType);
    }

    /// <summary>The seed of the chunker's gear table: cut points outside the domain tell nothing about those inside.</summary>
    public void GearSeed(Span<byte> target) => Blake3.DeriveKey(GearContext, _chunkerSeed.Span, Subkey(target));

    /// <summary>The DARE key of one block, from its 32-byte score.</summary>
    public void BlockKey(uint epoch, ReadOnlySpan<byte> score, Span<byte> target) => Derive(s_blockContext, Get(epoch).BlockBase, score, target);

    /// <summary>The arena cipher's key, from the 32-byte arena id.</summary>
    public void ArenaKey(uint epoch, ReadOnlySpan<byte> arenaId, Span<byte> target) => Derive(s_arenaContext, Get(epoch).ArenaBase, arenaId, target);

    /// <summary>The key of an encrypted record log, from its 32-byte id.</summary>
    public void LogKey(uint epoch, ReadOnlySpan<byte> logId, Span<byte> target) => Derive(s_logContext, Get(epoch).ArenaBase, logId, target);

    /// <summary>The serialised secrets, for the caller to encrypt and dispose.</summary>
    public SecretBytes Serialize()
    {
        EpochKeys[] epochs = _epochs;
        var secret = new SecretBytes(HeaderSize + epochs.Length * EpochSize);
        Span<byte> rest = secret.Writable;
        rest[0] = Version;
        rest[1] = (byte)Kind;
        rest = rest[4..];
        Id.Write(rest);
        rest = Put(rest[DomainId.Size..], _scoreKey);
        rest = Put(rest, _chunkerSeed);
        BinaryPrimitives.WriteUInt16LittleEndian(rest, (ushort)epochs.Length);
        rest = rest[(sizeof(ushort) + 2)..];
        foreach (EpochKeys epoch in epochs)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(rest, epoch.Number);
            rest = Put(rest[sizeof(uint)..], epoch.BlockBase);
            rest = Put(rest, epoch.ArenaBase);
        }

        Debug.Assert(rest.IsEmpty, "KeyDomain.Serialize and its sizes disagree");
        return secret;
    }

    /// <exception cref="DamagedFormatException">Not exactly one key domain.</exception>
    public static KeyDomain Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "key domain");
        byte version = reader.U8();
        if (version != Version)
        {
            throw reader.Damaged($"version {version} found, {Version} expected");
        }

        byte kind = reader.U8();
        if (kind is < (byte)DomainKind.Realm or > (byte)DomainKind.Session)
        {
            throw reader.Damaged($"kind {kind} found, 1 to 3 expected");
        }

        reader.Reserved(2);
        DomainId id = DomainId.Read(reader.Bytes(DomainId.Size));
        ReadOnlySpan<byte> scoreKey = reader.Bytes(SecretSize), chunkerSeed = reader.Bytes(SecretSize);
        int count = reader.U16();
        reader.Reserved(2);
        if (count is < 1 or > MaximumEpochs || reader.Remaining != count * EpochSize)
        {
            throw reader.Damaged($"{count} epochs in {reader.Remaining} bytes, 1 to {MaximumEpochs} of {EpochSize} bytes expected");
        }

        var epochs = new EpochKeys[count];
        for (int i = 0; i < count; i++)
        {
            uint number = reader.U32();
            if (number == 0 || (i > 0 && number <= epochs[i - 1].Number))
            {
                throw reader.Damaged($"epoch {number} does not rise");
            }

            epochs[i] = new EpochKeys(number, SecretBytes.CopyOf(reader.Bytes(SecretSize)), SecretBytes.CopyOf(reader.Bytes(SecretSize)));
        }

        reader.End();
        return new KeyDomain(id, (DomainKind)kind, SecretBytes.CopyOf(scoreKey), SecretBytes.CopyOf(chunkerSeed), epochs);
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _scoreKey.Dispose();
            _chunkerSeed.Dispose();
            foreach (SecretBytes? key in _scoreKeys)
            {
                key?.Dispose();
            }

            foreach (EpochKeys epoch in _epochs)
            {
                epoch.BlockBase.Dispose();
                epoch.ArenaBase.Dispose();
            }
        }
    }

    public override string ToString() => $"KeyDomain({Kind}, {Id}, epoch {CurrentEpoch})";

    private static byte[] ContextKey(string context)
    {
        byte[] key = new byte[Blake3.KeySize];
        Blake3.DeriveContextKey(KernelPaths.Best, context, key);
        return key;
    }

    private static void Derive(byte[] context, SecretBytes secret, ReadOnlySpan<byte> name, Span<byte> target)
    {
        if (name.Length != SubkeySize)
        {
            throw new ArgumentException($"A subkey is derived for a name of {SubkeySize} bytes, not {name.Length}.", nameof(name));
        }

        Span<byte> material = stackalloc byte[2 * SecretSize];
        secret.Span.CopyTo(material);
        name.CopyTo(material[SecretSize..]);
        Blake3.DeriveKey(context, material, Subkey(target));
        CryptographicOperations.ZeroMemory(material);
    }

    private static Span<byte> Subkey(Span<byte> target) => target.Length == SubkeySize
        ? target
        : throw new ArgumentException($"A subkey is {SubkeySize} bytes, the target {target.Length}.", nameof(target));

    private static Span<byte> Put(Span<byte> target, SecretBytes secret)
    {
        secret.Span.CopyTo(target);
        return target[secret.Length..];
    }

    private ReadOnlySpan<byte> DeriveScoreKey(byte blockType)
    {
        Span<byte> material = stackalloc byte[SecretSize + 1];
        _scoreKey.Span.CopyTo(material);
        material[SecretSize] = blockType;
        var key = new SecretBytes(SubkeySize);
        Blake3.DeriveKey(ScoreContext, material, key.Writable);
        CryptographicOperations.ZeroMemory(material);

        // Two threads may derive the same key; the first one in stays.
        SecretBytes? first = Interlocked.CompareExchange(ref _scoreKeys[blockType], key, null);
        if (first is null)
        {
            return key.Span;
        }

        key.Dispose();
        return first.Span;
    }

    private void RequireSame(KeyDomain other)
    {
        if (other.Id != Id || other.Kind != Kind
            || !CryptographicOperations.FixedTimeEquals(other._scoreKey.Span, _scoreKey.Span) || !CryptographicOperations.FixedTimeEquals(other._chunkerSeed.Span, _chunkerSeed.Span))
        {
            throw new DamagedFormatException($"key domain {Id}: found another kind, score key or seed under its id, expected the same");
        }
    }

    private EpochKeys? Find(uint epoch)
    {
        EpochKeys[] epochs = _epochs;
        for (int i = epochs.Length - 1; i >= 0; i--)
        {
            if (epochs[i].Number == epoch)
            {
                return epochs[i];
            }
        }

        return null;
    }

    private EpochKeys Get(uint epoch) => Find(epoch)
        ?? throw new KeyNotFoundException($"The keys of epoch {epoch} of domain {Id} are not in this keyring; its newest epoch is {CurrentEpoch}.");

    private sealed class EpochKeys(uint number, SecretBytes blockBase, SecretBytes arenaBase)
    {
        internal uint Number { get; } = number;

        internal SecretBytes BlockBase { get; } = blockBase;

        internal SecretBytes ArenaBase { get; } = arenaBase;

        internal bool IsSame(EpochKeys other) =>
            CryptographicOperations.FixedTimeEquals(BlockBase.Span, other.BlockBase.Span) && CryptographicOperations.FixedTimeEquals(ArenaBase.Span, other.ArenaBase.Span);

        internal EpochKeys Copy() => new(Number, SecretBytes.CopyOf(BlockBase.Span), SecretBytes.CopyOf(ArenaBase.Span));

        internal static EpochKeys Create(uint number, IRandomSource random) =>
            new(number, SecretBytes.Random(random, SecretSize), SecretBytes.Random(random, SecretSize));
    }
}
