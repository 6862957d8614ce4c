using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Catalogs;

/// <summary>The truth about arenas, fragments, holders and heads, in memory: the state that the records of a catalog log add up to.</summary>
/// <remarks>
/// Format: docs/format.md 9. Records are immutable and are replaced, so what a reader took stays consistent.
/// Locks: _gate guards every field; nothing does I/O inside. <see cref="CatalogLog"/> writes a record to its log before it applies it here.
/// </remarks>
public sealed class Catalog
{
    internal const int MaxAnnounceCount = 1024;
    internal const int MaxForgetCount = 4096;
    internal const int MaxAwayCount = 4096;

    /// <summary>So many dates are known to be counted: a clock that is set right at every start shows two dates a day, and one of them is always the same.</summary>
    internal const int MaxDateCount = 32;

    private readonly Lock _gate = new();
    private readonly Dictionary<uint, ArenaRecord> _arenas = [];
    private readonly Dictionary<ArenaId, uint> _ordinals = [];
    private readonly Dictionary<ushort, long> _heldBytes = [];
    private readonly SortedDictionary<uint, ArenaId> _announced = [];
    private readonly SortedSet<uint> _away = []; // ordinals, of arenas whose own record may come later
    private readonly List<HolderRecord> _holders = [];
    private readonly Dictionary<(VolumeId Volume, LogLine Line), SignedHead> _heads = [];
    private readonly SortedDictionary<(RecordLogKind Kind, uint Device, ulong Incarnation), (ulong Number, ulong ValidBytes, ulong Alias)> _seen = [];
    private readonly List<DeviceCertificate> _certificates = [];
    private readonly List<DeviceStatement> _statements = [];
    private readonly List<EpochRecord> _epochs = [];
    private readonly List<DeviceVouch> _vouches = [];
    private ulong _sequence;
    private uint _nextOrdinal = 1;
    private readonly List<uint> _dates = []; // counted as running days, the last one last
    private uint _runningDays;
    private uint _lastDate;

    /// <summary>How many records led here.</summary>
    public ulong Sequence
    {
        get
        {
            lock (_gate)
            {
                return _sequence;
            }
        }
    }

    public uint NextOrdinal
    {
        get
        {
            lock (_gate)
            {
                return _nextOrdinal;
            }
        }
    }

    public uint RunningDays
    {
        get
        {
            lock (_gate)
            {
                return _runningDays;
            }
        }
    }

    public uint LastDate
    {
        get
        {
            lock (_gate)
            {
                return _lastDate;
            }
        }
    }

    /// <summary>Whether a date is among those last counted as running days.</summary>
    internal bool HasCounted(uint date)
    {
        lock (_gate)
        {
            return _dates.Contains(date);
        }
    }

    /// <summary>The record of an ordinal, or null: announced only, forgotten, or never known.</summary>
    public ArenaRecord? Arena(uint ordinal)
    {
        lock (_gate)
        {
            return _arenas.GetValueOrDefault(ordinal);
        }
    }

    public ArenaRecord? Arena(ArenaId id)
    {
        lock (_gate)
        {
            return _ordinals.TryGetValue(id, out uint ordinal) ? _arenas.GetValueOrDefault(ordinal) : null;
        }
    }

    /// <summary>Whether the catalog knows the id at all, announced ones included.</summary>
    public bool Knows(ArenaId id)
    {
        lock (_gate)
        {
            return _ordinals.ContainsKey(id) || _announced.ContainsValue(id);
        }
    }

    /// <summary>All arena records, in the order of their ordinals.</summary>
    public IReadOnlyList<ArenaRecord> Arenas()
    {
        lock (_gate)
        {
            var arenas = new List<ArenaRecord>(_arenas.Values);
            arenas.Sort(static (a, b) => a.Ordinal.CompareTo(b.Ordinal));
            return arenas;
        }
    }

    /// <summary>Bytes of the fragments that arenas have at a holder, the trash included.</summary>
    public long HeldBytes(ushort holder)
    {
        lock (_gate)
        {
            return _heldBytes.GetValueOrDefault(holder);
        }
    }

    /// <summary>Arenas announced and neither sealed nor forgotten.</summary>
    public IReadOnlyList<(uint Ordinal, ArenaId Id)> Announced()
    {
        lock (_gate)
        {
            return [.. _announced.Select(static pair => (pair.Key, pair.Value))];
        }
    }

    public IReadOnlyList<HolderRecord> Holders()
    {
        lock (_gate)
        {
            return [.. _holders];
        }
    }

    /// <summary>The heads that no other supersedes: one a volume, or several where lines forked.</summary>
    public IReadOnlyList<SignedHead> Heads()
    {
        lock (_gate)
        {
            return [.. _heads.Values];
        }
    }

    /// <summary>Goes back to the heads of an earlier state of this catalog: for a reader that has not got the blocks of later ones.</summary>
    internal void KeepHeadsOf(Catalog earlier)
    {
        IReadOnlyList<SignedHead> heads = earlier.Heads();
        lock (_gate)
        {
            _heads.Clear();
            foreach (SignedHead head in heads)
            {
                _heads.Add((head.Head.Volume, new LogLine(head.Head.Device, head.Head.Incarnation)), head);
            }
        }
    }

    /// <summary>The newest head of a line, or null where it has none or another line's supersedes it.</summary>
    public SignedHead? NewestHead(VolumeId volume, uint device, ulong incarnation)
    {
        lock (_gate)
        {
            return _heads.GetValueOrDefault((volume, new LogLine(device, incarnation)));
        }
    }

    /// <summary>Certificates of this account's devices, lost ones included: what old heads are checked by.</summary>
    public IReadOnlyList<DeviceCertificate> Certificates()
    {
        lock (_gate)
        {
            return [.. _certificates];
        }
    }

    /// <summary>What devices said of each other; which of it counts is asked of <see cref="DeviceStatement.InForce"/>.</summary>
    public IReadOnlyList<DeviceStatement> Statements()
    {
        lock (_gate)
        {
            return [.. _statements];
        }
    }

    /// <summary>Epochs that were begun because a device was revoked. An epoch that is not here may be written under only where nobody is.</summary>
    public IReadOnlyList<EpochRecord> Epochs()
    {
        lock (_gate)
        {
            return [.. _epochs];
        }
    }

    /// <summary>Devices' words for others, as they were found: whose count is the store's to say.</summary>
    public IReadOnlyList<DeviceVouch> Vouches()
    {
        lock (_gate)
        {
            return [.. _vouches];
        }
    }

    /// <summary>Certificates, statements, epochs and vouches. It only grows.</summary>
    internal int DeviceRecordCount
    {
        get
        {
            lock (_gate)
            {
                return _certificates.Count + _statements.Count + _epochs.Count + _vouches.Count;
            }
        }
    }

    /// <summary>Whether what a log of another line had up to there has been taken up.</summary>
    internal bool HasSeen(RecordLogHeader log, long bytes)
    {
        lock (_gate)
        {
            return _seen.TryGetValue((log.Kind, log.Device, log.Incarnation), out (ulong Number, ulong ValidBytes, ulong Alias) seen)
                && (log.Number < seen.Number || (log.Number == seen.Number && (ulong)bytes <= seen.ValidBytes));
        }
    }

    /// <summary>Whether another line of catalogs than this was ever met, of this device or of one that nobody certified: another state folder, or an earlier life of this one, which may go on writing.</summary>
    internal bool HasMetOthers(uint device, ulong incarnation)
    {
        lock (_gate)
        {
            return _seen.Keys.Any(line => line.Kind == RecordLogKind.Catalog
                && (line.Device == device ? line.Incarnation != incarnation : !_certificates.Exists(certificate => certificate.DeviceNumber == line.Device)));
        }
    }

    /// <summary>The incarnation under which a line's heads are entered here, where it parted from ours under the same one; else 0.</summary>
    internal ulong AliasOf(RecordLogHeader log)
    {
        lock (_gate)
        {
            return _seen.TryGetValue((log.Kind, log.Device, log.Incarnation), out (ulong Number, ulong ValidBytes, ulong Alias) seen) ? seen.Alias : 0;
        }
    }

    /// <summary>Applies one record. Used alike when a log is replayed and after a record was appended.</summary>
    internal void Apply(ReadOnlySpan<byte> body)
    {
        var reader = new FieldReader(body, "catalog record");
        byte kind = reader.U8();
        lock (_gate)
        {
            switch ((CatalogRecordKind)kind)
            {
                case CatalogRecordKind.Begin:
                    _sequence = reader.U64();
                    if (_sequence > long.MaxValue)
                    {
                        throw reader.Damaged($"sequence {_sequence}, at most {long.MaxValue} expected");
                    }

                    _nextOrdinal = reader.U32();
                    ApplyDayLocked(ref reader);
                    return; // the sequence counts what came before
                case CatalogRecordKind.End:
                    reader.End();
                    return;
                case CatalogRecordKind.Holder:
                    ApplyHolderLocked(ref reader);
                    break;
                case CatalogRecordKind.Announce:
                    ApplyAnnounceLocked(ref reader);
                    break;
                case CatalogRecordKind.Arena:
                    ArenaRecord arena = ArenaRecord.Read(ref reader);
                    reader.End();
                    if (arena.Ordinal == uint.MaxValue)
                    {
                        throw reader.Damaged($"arena number {arena.Ordinal}, a lower one expected");
                    }

                    ApplyArenaLocked(arena);
                    break;
                case CatalogRecordKind.Forget:
                    ApplyForgetLocked(ref reader);
                    break;
                case CatalogRecordKind.Head:
                    SignedHead head = HeadCodec.Read(reader.Bytes(reader.Remaining));
                    ApplyHeadLocked(head);
                    break;
                case CatalogRecordKind.Seen:
                    ApplySeenLocked(ref reader);
                    break;
                case CatalogRecordKind.Certificate:
                    DeviceCertificate certificate = DeviceCertificate.Read(reader.Bytes(reader.Remaining));
                    if (_certificates.TrueForAll(known => !known.Bytes.SequenceEqual(certificate.Bytes)))
                    {
                        _certificates.Add(certificate);
                    }

                    break;
                case CatalogRecordKind.Epoch:
                    EpochRecord epoch = EpochRecord.Read(ref reader);
                    reader.End();
                    if (!_epochs.Exists(known => known.Domain == epoch.Domain && known.Epoch == epoch.Epoch))
                    {
                        _epochs.Add(epoch); // what was said first counts
                    }

                    break;
                case CatalogRecordKind.Vouch:
                    DeviceVouch vouch = DeviceVouch.Read(ref reader);
                    reader.End();
                    if (!_vouches.Exists(vouch.IsSame))
                    {
                        _vouches.Add(vouch);
                    }

                    break;
                case CatalogRecordKind.Day:
                    ApplyDayLocked(ref reader);
                    break;
                case CatalogRecordKind.Device:
                    DeviceStatement statement = DeviceStatement.Read(reader.Bytes(reader.Remaining));
                    if (_statements.TrueForAll(known => !known.Bytes.SequenceEqual(statement.Bytes)))
                    {
                        _statements.Add(statement);
                    }

                    break;
                case CatalogRecordKind.Away:
                    ApplyAwayLocked(ref reader);
                    break;
                default:
                    if (kind < (byte)CatalogRecordKind.Device)
                    {
                        throw reader.Damaged($"kind {kind} found, 1 to 11 expected; the store was written by a newer version");
                    }

                    break;
            }

            _sequence = checked(_sequence + 1);
        }
    }

    /// <summary>The records of a checkpoint, begin and end included, in order.</summary>
    internal void WriteCheckpoint(Action<FieldWriter> append)
    {
        lock (_gate)
        {
            var writer = new FieldWriter(1024);
            writer.U8((byte)CatalogRecordKind.Begin);
            // Every record between begin and end counts again on replay: begin says what is left after them.
            ulong repeated = (ulong)(_holders.Count + AnnounceRunsLocked().Count + _arenas.Count + _heads.Count + _seen.Count + _certificates.Count + _statements.Count + _epochs.Count + _vouches.Count + DatesToRepeatLocked().Count + AwayRunsLocked().Count);
            writer.U64(_sequence - Math.Min(_sequence, repeated));
            writer.U32(_nextOrdinal);
            writer.U32(_runningDays);
            writer.U32(_lastDate);
            append(writer);
            foreach (uint date in DatesToRepeatLocked())
            {
                writer.Clear();
                WriteDay(writer, _runningDays, date);
                append(writer);
            }

            foreach (HolderRecord holder in _holders)
            {
                writer.Clear();
                WriteHolder(writer, holder);
                append(writer);
            }

            foreach ((uint first, List<ArenaId> ids) in AnnounceRunsLocked())
            {
                writer.Clear();
                WriteAnnounce(writer, first, ids);
                append(writer);
            }

            foreach (uint[] ordinals in AwayRunsLocked())
            {
                writer.Clear();
                WriteAway(writer, isAway: true, ordinals);
                append(writer);
            }

            foreach (ArenaRecord arena in _arenas.Values.OrderBy(static arena => arena.Ordinal))
            {
                writer.Clear();
                arena.Write(writer);
                append(writer);
            }

            foreach (SignedHead head in _heads.Values)
            {
                writer.Clear();
                WriteHead(writer, head);
                append(writer);
            }

            foreach (((RecordLogKind Kind, uint Device, ulong Incarnation) key, (ulong number, ulong validBytes, ulong alias)) in _seen)
            {
                writer.Clear();
                WriteSeen(writer, key.Kind, key.Device, key.Incarnation, number, validBytes, alias);
                append(writer);
            }

            foreach (DeviceCertificate certificate in _certificates)
            {
                writer.Clear();
                WriteCertificate(writer, certificate);
                append(writer);
            }

            foreach (DeviceStatement statement in _statements)
            {
                writer.Clear();
                WriteStatement(writer, statement);
                append(writer);
            }

            foreach (EpochRecord epoch in _epochs)
            {
                writer.Clear();
                epoch.Write(writer);
                append(writer);
            }

            foreach (DeviceVouch vouch in _vouches)
            {
                writer.Clear();
                vouch.Write(writer);
                append(writer);
            }

            writer.Clear();
            writer.U8((byte)CatalogRecordKind.End);
            append(writer);
        }
    }

    internal static void WriteHolder(FieldWriter writer, HolderRecord holder)
    {
        writer.U8((byte)CatalogRecordKind.Holder);
        writer.U16(holder.Number);
        holder.Id.Write(writer.Take(HolderId.Size));
        writer.U8(holder.IsGone ? (byte)1 : (byte)0);
        writer.ShortText(holder.Place);
    }

    internal static void WriteAnnounce(FieldWriter writer, uint firstOrdinal, IReadOnlyList<ArenaId> ids)
    {
        writer.U8((byte)CatalogRecordKind.Announce);
        writer.U32(firstOrdinal);
        writer.U16((ushort)ids.Count);
        foreach (ArenaId id in ids)
        {
            id.Write(writer.Take(ArenaId.Size));
        }
    }

    internal static void WriteHead(FieldWriter writer, SignedHead head)
    {
        writer.U8((byte)CatalogRecordKind.Head);
        writer.Bytes(head.Bytes.Span);
    }

    internal static void WriteSeen(FieldWriter writer, RecordLogKind kind, uint device, ulong incarnation, ulong number, ulong validBytes, ulong alias)
    {
        writer.U8((byte)CatalogRecordKind.Seen);
        writer.U8((byte)kind);
        writer.U32(device);
        writer.U64(incarnation);
        writer.U64(number);
        writer.U64(validBytes);
        writer.U64(alias);
    }

    internal static void WriteCertificate(FieldWriter writer, DeviceCertificate certificate)
    {
        writer.U8((byte)CatalogRecordKind.Certificate);
        writer.Bytes(certificate.Bytes);
    }

    internal static void WriteStatement(FieldWriter writer, DeviceStatement statement)
    {
        writer.U8((byte)CatalogRecordKind.Device);
        writer.Bytes(statement.Bytes);
    }

    internal static void WriteForget(FieldWriter writer, IReadOnlyList<uint> ordinals)
    {
        writer.U8((byte)CatalogRecordKind.Forget);
        foreach (uint ordinal in ordinals)
        {
            writer.U32(ordinal);
        }
    }

    internal static void WriteAway(FieldWriter writer, bool isAway, IReadOnlyList<uint> ordinals)
    {
        writer.U8((byte)CatalogRecordKind.Away);
        writer.U8(isAway ? (byte)1 : (byte)0);
        foreach (uint ordinal in ordinals)
        {
            writer.U32(ordinal);
        }
    }

    internal static void WriteDay(FieldWriter writer, uint runningDays, uint date)
    {
        writer.U8((byte)CatalogRecordKind.Day);
        writer.U32(runningDays);
        writer.U32(date);
    }

    /// <summary>What a checkpoint says of counted dates: nothing beyond its begin record where they are that one date.</summary>
    private List<uint> DatesToRepeatLocked() => _dates.Count > 1 ? _dates : [];

    private void ApplyDayLocked(ref FieldReader reader)
    {
        _runningDays = reader.U32();
        _lastDate = reader.U32();
        reader.End();
        if (_runningDays > 0)
        {
            _dates.Remove(_lastDate);
            _dates.Add(_lastDate);
            _dates.RemoveRange(0, Math.Max(0, _dates.Count - MaxDateCount));
        }
    }

    private List<(uint First, List<ArenaId> Ids)> AnnounceRunsLocked()
    {
        var runs = new List<(uint First, List<ArenaId> Ids)>();
        foreach ((uint ordinal, ArenaId id) in _announced)
        {
            if (runs.Count > 0 && runs[^1].First + (uint)runs[^1].Ids.Count == ordinal && runs[^1].Ids.Count < MaxAnnounceCount)
            {
                runs[^1].Ids.Add(id);
            }
            else
            {
                runs.Add((ordinal, [id]));
            }
        }

        return runs;
    }

    /// <summary>Whatever order heads come in, those stay that no other supersedes.</summary>
    private void ApplyHeadLocked(SignedHead head)
    {
        if (_heads.Values.Any(known => known.Head.Supersedes(head.Head)))
        {
            return;
        }

        foreach (((VolumeId Volume, LogLine Line) key, SignedHead known) in _heads.ToList())
        {
            if (head.Head.Supersedes(known.Head))
            {
                _heads.Remove(key);
            }
        }

        _heads[(head.Head.Volume, new LogLine(head.Head.Device, head.Head.Incarnation))] = head;
    }

    private void ApplySeenLocked(ref FieldReader reader)
    {
        byte kind = reader.U8();
        uint device = reader.U32();
        ulong incarnation = reader.U64();
        ulong number = reader.U64();
        ulong validBytes = reader.U64();
        ulong alias = reader.U64();
        reader.End();
        if (kind is not ((byte)RecordLogKind.Catalog or (byte)RecordLogKind.Journal))
        {
            throw reader.Damaged($"log kind {kind} found, 1 or 2 expected");
        }

        _seen[((RecordLogKind)kind, device, incarnation)] = (number, validBytes, alias);
    }

    private void ApplyHolderLocked(ref FieldReader reader)
    {
        ushort number = reader.U16();
        HolderId id = HolderId.Read(reader.Bytes(HolderId.Size));
        byte state = reader.U8();
        string place = reader.ShortText("place");
        reader.End();
        if (state > 1 || number == FragmentPlace.Nowhere || number > _holders.Count)
        {
            throw reader.Damaged($"holder {number} with state {state}; the next number is {_holders.Count}");
        }

        var holder = new HolderRecord(number, id, state == 1, place);
        if (number == _holders.Count)
        {
            _holders.Add(holder);
        }
        else
        {
            _holders[number] = holder;
        }
    }

    private void ApplyAnnounceLocked(ref FieldReader reader)
    {
        uint first = reader.U32();
        int count = reader.U16();
        if (count is 0 or > MaxAnnounceCount)
        {
            throw reader.Damaged($"{count} arenas announced at once, 1 to {MaxAnnounceCount} expected");
        }

        if (first > uint.MaxValue - (uint)count)
        {
            throw reader.Damaged($"{count} arenas announced from number {first} on, which leaves 32 bits");
        }

        for (uint i = 0; i < count; i++)
        {
            _announced[first + i] = ArenaId.Read(reader.Bytes(ArenaId.Size));
        }

        reader.End();
        _nextOrdinal = Math.Max(_nextOrdinal, first + (uint)count);
    }

    private void ApplyArenaLocked(ArenaRecord arena)
    {
        arena = arena with { IsAway = _away.Contains(arena.Ordinal) };
        _announced.Remove(arena.Ordinal);
        if (_arenas.TryGetValue(arena.Ordinal, out ArenaRecord? before))
        {
            CountHeldLocked(before, -1);
        }

        CountHeldLocked(arena, 1);
        _arenas[arena.Ordinal] = arena;
        _ordinals[arena.Id] = arena.Ordinal;
        _nextOrdinal = Math.Max(_nextOrdinal, arena.Ordinal + 1);
    }

    private List<uint[]> AwayRunsLocked() => [.. _away.Chunk(MaxAwayCount)];

    private void ApplyAwayLocked(ref FieldReader reader)
    {
        byte state = reader.U8();
        if (state > 1 || reader.Remaining > MaxAwayCount * sizeof(uint))
        {
            throw reader.Damaged($"away {state} and {reader.Remaining} bytes of arena numbers, 0 or 1 and at most {MaxAwayCount} numbers expected");
        }

        while (reader.Remaining > 0)
        {
            uint ordinal = reader.U32();
            _ = state == 1 ? _away.Add(ordinal) : _away.Remove(ordinal);
            if (_arenas.TryGetValue(ordinal, out ArenaRecord? arena))
            {
                _arenas[ordinal] = arena with { IsAway = state == 1 };
            }
        }
    }

    private void ApplyForgetLocked(ref FieldReader reader)
    {
        if (reader.Remaining > MaxForgetCount * sizeof(uint))
        {
            throw reader.Damaged($"{reader.Remaining} bytes of arena numbers, at most {MaxForgetCount} numbers expected");
        }

        while (reader.Remaining > 0)
        {
            uint ordinal = reader.U32();
            _announced.Remove(ordinal);
            _away.Remove(ordinal);
            if (_arenas.Remove(ordinal, out ArenaRecord? arena))
            {
                _ordinals.Remove(arena.Id);
                CountHeldLocked(arena, -1);
            }
        }
    }

    private void CountHeldLocked(ArenaRecord arena, int sign)
    {
        foreach (FragmentPlace fragment in arena.Fragments)
        {
            _heldBytes[fragment.Holder] = _heldBytes.GetValueOrDefault(fragment.Holder) + ((long)sign * arena.Layout.SliceBytes);
        }
    }
}
