using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>A device of the account, as this store knows it.</summary>
public sealed record DeviceInfo
{
    public required uint Number { get; init; }

    public required string Name { get; init; }

    public required long EnrolledAtSeconds { get; init; }

    public required DeviceState State { get; init; }

    /// <summary>This one.</summary>
    public bool IsOwn { get; init; }

    /// <summary>The last day on which it wrote, days since 1970, by its own clock; null: no catalog of it was found at a holder that answers.</summary>
    public uint? LastDate { get; init; }

    /// <summary>Image and parity bytes of arenas in the trash that it has not seen there yet.</summary>
    public long UnseenBytes { get; init; }

    /// <summary>Of a device that is retired or revoked: who owns now what it sealed.</summary>
    public uint Adopter { get; init; }
}

/// <content>The account's other devices: the union of their catalogs, who owns an arena, and who has seen that it was released.</content>
/// <remarks>
/// Format: docs/format.md 9.1, 10.1. Each device writes its own catalog alone; what others have in theirs is taken up here, record by record, when the store is opened and whenever <see cref="MeetOthersAsync"/> is asked.
/// Ownership: an arena is its sealer's, or the adopter's after a statement; only the owner condemns it, moves it to the trash and empties that.
/// "Seen": a device has answered for an arena in the trash when its own catalog no longer has it as a sealed one. It says so only when nothing of its own is under way that counted on the arena, and publishes with it
/// every head that it ever committed, so that the owner, which marks from them before it deletes, takes back what one of them wants.
/// </remarks>
public sealed partial class BlockStore
{
    private volatile DevicesSaid? _said;
    private bool _hasPostponed;

    /// <summary>Statements as they count, and how many records of the catalog they come from: none is ever taken away.</summary>
    /// <param name="Trusted">Keys of the devices that get epochs, and from which they are taken: none that is revoked, and of those that a revoked one enrolled the ones that were known before.</param>
    /// <param name="Epochs">Records of epochs that their makers signed.</param>
    private sealed record DevicesSaid(
        int RecordCount, IReadOnlyDictionary<uint, DeviceStatement> InForce, IReadOnlySet<uint> Certified, IReadOnlySet<Bytes32> Trusted, IReadOnlyList<EpochRecord> Epochs);

    /// <summary>What other devices wrote was not taken up when the store was opened, since something of this one has to be first: <see cref="MeetOthersAsync"/> does it.</summary>
    public bool HasPostponed => _hasPostponed;

    /// <summary>What became of devices, by number.</summary>
    public IReadOnlyDictionary<uint, DeviceStatement> Statements => Said().InForce;

    /// <summary>Which devices are revoked, in the order in which it is heard: each statement that is in force, with a certificate by which it counts.</summary>
    public IReadOnlyList<(DeviceCertificate Signer, DeviceStatement Statement)> Revocations()
    {
        DeviceStatement[] revoked = [.. Statements.Values.Where(static said => said.State == DeviceState.Revoked).OrderBy(static said => said.Signer).ThenBy(static said => said.Device)];
        return revoked.Length == 0 ? [] : [.. revoked.Select(said => (Valid().First(said.IsSignedBy), said))];
    }

    /// <summary>The device that may release an arena.</summary>
    public uint OwnerOf(ArenaRecord arena)
    {
        ArgumentNullException.ThrowIfNull(arena);
        IReadOnlyDictionary<uint, DeviceStatement> inForce = Statements;
        uint owner = arena.Owner;
        for (int hops = 0; hops <= inForce.Count; hops++)
        {
            if (!inForce.TryGetValue(owner, out DeviceStatement? said))
            {
                return owner;
            }

            owner = said.Adopter;
        }

        return arena.Owner; // they adopted each other: nobody releases
    }

    internal bool Owns(ArenaRecord arena) => OwnerOf(arena) == _device;

    /// <summary>The account's devices, this one among them, by number.</summary>
    public async ValueTask<IReadOnlyList<DeviceInfo>> DevicesAsync(CancellationToken cancel)
    {
        List<CatalogLog.OtherLine> lines = Said().Certified.Any(device => device != _device) ? await ReadDevicesAsync(cancel).ConfigureAwait(false) : [];
        List<ArenaRecord> trashed = [.. Catalog.Arenas().Where(arena => arena.State == ArenaState.Trashed && Owns(arena))];
        var devices = new List<DeviceInfo>();
        foreach (IGrouping<uint, DeviceCertificate> certificates in Catalog.Certificates().Append(_keys.Certificate).GroupBy(static each => each.DeviceNumber).OrderBy(static each => each.Key))
        {
            DeviceCertificate newest = certificates.MaxBy(static each => each.IssuedAtSeconds)!;
            DeviceStatement? said = Statements.GetValueOrDefault(certificates.Key);
            bool isOwn = certificates.Key == _device;
            List<CatalogLog.OtherLine> its = lines.FindAll(line => line.Header.Device == certificates.Key);
            devices.Add(new DeviceInfo
            {
                Number = certificates.Key,
                Name = isOwn ? _keys.Certificate.DeviceName : newest.DeviceName,
                EnrolledAtSeconds = certificates.Min(static each => each.IssuedAtSeconds),
                State = said?.State ?? DeviceState.Active,
                Adopter = said?.Adopter ?? 0,
                IsOwn = isOwn,
                LastDate = isOwn ? Catalog.LastDate : its.Count > 0 ? its.Max(static line => line.Catalog.LastDate) : null,
                UnseenBytes = isOwn || said is not null ? 0 : trashed.Where(arena => !HasSeen(its, arena)).Sum(static arena => (long)arena.Layout.FragmentCount * arena.Layout.SliceBytes),
            });
        }

        return devices;
    }

    /// <summary>Says for good that another device is retired or revoked, and adopts what it sealed. Durable, and at the holders, on return.</summary>
    public async ValueTask<DeviceStatement> SayAsync(uint device, DeviceState state, CancellationToken cancel)
    {
        ThrowIfNotWritable();
        HeadCut[] cuts = state != DeviceState.Revoked ? [] :
        [
            .. KnownHeads(device).GroupBy(static head => (head.Volume, head.Incarnation))
                .Select(static line => new HeadCut(line.Key.Volume, line.Key.Incarnation, line.Max(static head => head.Sequence))).Take(DeviceStatement.MaximumCuts),
        ];
        DeviceStatement said = DeviceStatement.Issue(_keys.Certificate, _keys.DeviceKeys, device, state, NowSeconds(), cuts);
        try
        {
            // What a revoked device said counts no more; what is meant to last is said again by this one.
            foreach (DeviceStatement earlier in Statements.Values.Where(earlier => earlier.Signer == device && earlier.Device != _device))
            {
                DeviceStatement again = DeviceStatement.Issue(_keys.Certificate, _keys.DeviceKeys, earlier.Device, earlier.State, NowSeconds(), earlier.Cuts);
                _catalogLog.Append(writer => Catalog.WriteStatement(writer, again));
            }

            VouchForEnrolled(state == DeviceState.Revoked ? [device] : []);
            _catalogLog.Append(writer => Catalog.WriteStatement(writer, said));
            _catalogLog.Sync();
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }

        await PublishAsync(cancel).ConfigureAwait(false);
        return said;
    }

    /// <summary>Whether another device has published what was not taken up here: by the lengths of its catalogs at the holders.</summary>
    public async ValueTask<bool> HasNewsAsync(CancellationToken cancel)
    {
        LogCopies copies = CopiesOf(RecordLogKind.Catalog);
        List<LogCopy> found = await copies.FindAsync(ReachableHolders(), cancel).ConfigureAwait(false);
        return await TakeEpochsAsync(copies.Locked, cancel).ConfigureAwait(false) || found.Exists(copy => !copies.IsLocked(copy.Line) && copy.LocalPath is null && copy.Header.Device != _device && IsHeard(copy.Header.Device) && !Catalog.HasSeen(copy.Header, copy.Bytes));
    }

    /// <summary>Takes up what the account's other devices have published since this store was opened. Nobody may be writing meanwhile, nor hold what is not committed.</summary>
    /// <returns>Whether there was anything new.</returns>
    public async ValueTask<bool> MeetOthersAsync(CancellationToken cancel)
    {
        ThrowIfNotWritable();
        if (HasIntents)
        {
            return false; // what is in no root yet may count on what others have released
        }

        List<IFragmentHolder> holders = ReachableHolders();
        _catalogLog.Sync();
        List<CatalogLog.OtherLine> others = await ReadOthersNowAsync(cancel).ConfigureAwait(false);
        others.RemoveAll(other => other.IsOld || other.Header.Device == _device || other.Alias != 0 || !IsHeard(other.Header.Device) || Catalog.HasSeen(other.Header, other.ValidBytes));
        _hasPostponed = false;
        await BeginFittingEpochsAsync(cancel).ConfigureAwait(false); // before anything of theirs stands in a log of ours
        if (others.Count == 0)
        {
            return false;
        }

        (Journal journal, List<JournalClump> _) = await Journal.LoadAsync(CopiesOf(RecordLogKind.Journal), holders, _random, cancel).ConfigureAwait(false);
        using (journal)
        {
            foreach ((List<JournalClump> theirs, RecordLogHeader header, long _) in await journal.ReadOthersAsync(Catalog.HasSeen, cancel).ConfigureAwait(false))
            {
                if (header.Device != _device)
                {
                    TakeJournal(theirs, isOurs: false);
                }
            }
        }

        List<CatalogLog.OtherLine> later = await ReadOthersLaterAsync(cancel).ConfigureAwait(false);
        await FlushAsync(cancel).ConfigureAwait(false);       // 1. blocks of their heads that no arena has yet, durable here
        await TakeUpArenasAsync(later, isIndexing: true, cancel).ConfigureAwait(false); // 2. their arenas, and what they released
        Join(others);                                         // 3. their heads
        _catalogLog.Sync();
        try
        {
            RefuseIfRetired();
        }
        catch (StoreException retired)
        {
            Fail(retired); // a process that has been writing for long stops here
            throw;
        }

        await PublishAsync(cancel).ConfigureAwait(false); // 4. said to them
        return true;
    }

    /// <summary>What other lines wrote since, with the keys that were left for this device; of all of them what they say of devices and epochs is taken.</summary>
    private async ValueTask<List<CatalogLog.OtherLine>> ReadOthersNowAsync(CancellationToken cancel)
    {
        for (bool isFirst = true; ; isFirst = false)
        {
            using CatalogLog found = await CatalogLog.LoadAsync(CopiesOf(RecordLogKind.Catalog), _device, ReachableHolders(), _random, cancel).ConfigureAwait(false);
            List<CatalogLog.OtherLine> others = await found.ReadOthersAsync(cancel).ConfigureAwait(false);
            TakeStatements(others);
            TakeEpochRecords(others);
            if (!isFirst || !await TakeEpochsAsync(found.Locked, cancel).ConfigureAwait(false))
            {
                return others;
            }
        }
    }

    /// <summary>Other devices' catalogs once more, behind their journals: for their arenas.</summary>
    /// <remarks>A head's blocks are in the journal that was read after it, or, where the journal's file has ended meanwhile, in an arena that a catalog named before that: in one that is listed now.</remarks>
    private async ValueTask<List<CatalogLog.OtherLine>> ReadOthersLaterAsync(CancellationToken cancel)
    {
        _catalogLog.Sync();
        using CatalogLog found = await CatalogLog.LoadAsync(CopiesOf(RecordLogKind.Catalog), _device, ReachableHolders(), _random, cancel).ConfigureAwait(false);
        List<CatalogLog.OtherLine> lines = await found.ReadOthersAsync(cancel).ConfigureAwait(false);
        lines.RemoveAll(other => other.IsOld || other.Header.Device == _device || other.Alias != 0 || !IsHeard(other.Header.Device));
        return lines;
    }

    private LogCopies CopiesOf(RecordLogKind kind)
    {
        string name = kind == RecordLogKind.Catalog ? "catalog" : "journal";
        return new LogCopies(_disk, Paths.Join(_options.StateFolder, name), name, kind, _device, _keys.Realm, _logHeads);
    }

    /// <summary>Newest catalogs of the account's other devices as they lie at holders now. A line that another line of its device has taken up in whole is left out: that state folder is gone.</summary>
    internal async ValueTask<List<CatalogLog.OtherLine>> ReadDevicesAsync(CancellationToken cancel) => (await ReadDevicesAndLockedAsync(cancel).ConfigureAwait(false)).Lines;

    /// <summary>The same, and the devices that write, or have written, what cannot be opened here: of those nothing is known, however much of them can be read.</summary>
    private async ValueTask<(List<CatalogLog.OtherLine> Lines, IReadOnlySet<uint> Locked)> ReadDevicesAndLockedAsync(CancellationToken cancel)
    {
        LogCopies copies = CopiesOf(RecordLogKind.Catalog);
        List<CatalogLog.OtherLine> lines = await CatalogLog.ReadDevicesAsync(copies, _device, ReachableHolders(), _random, cancel).ConfigureAwait(false);
        HashSet<uint> locked = [.. copies.Locked.Where(copy => IsHeard(copy.Header.Device) && !IsGone(copy.Header, copy.Bytes)).Select(static copy => copy.Header.Device)];
        return (lines.FindAll(line => IsHeard(line.Header.Device) && !line.IsOld && !IsGone(line.Header, line.ValidBytes)), locked);

        bool IsGone(RecordLogHeader header, long bytes) =>
            lines.Exists(other => !other.IsOld && other.Header.Device == header.Device && other.Header.Incarnation != header.Incarnation && other.Catalog.HasSeen(header, bytes));
    }

    /// <summary>Whether a device has answered for an arena that its owner released: by the catalogs of all its lines.</summary>
    internal static bool HasSeen(IReadOnlyList<CatalogLog.OtherLine> lines, ArenaRecord arena) =>
        lines.Count > 0 && lines.All(line => line.Catalog.Arena(arena.Id) is not { State: ArenaState.Sealed or ArenaState.Condemned });

    /// <summary>What keeps arenas in the trash from being deleted: by device, whether it has answered for one, and why not, where it has said nothing that counts.</summary>
    internal async ValueTask<IReadOnlyList<DeviceAnswers>> AnswersAsync(CancellationToken cancel)
    {
        (List<CatalogLog.OtherLine> lines, IReadOnlySet<uint> locked) = await ReadDevicesAndLockedAsync(cancel).ConfigureAwait(false);
        IEnumerable<uint> others = Said().Certified.Where(device => device != _device && !Statements.ContainsKey(device)).Union(locked); // retired ones, and this one's own other state folders, if they cannot be read
        return
        [
            .. others.Select(device =>
            {
                if (locked.Contains(device))
                {
                    return new DeviceAnswers(device, NameOf(device), null, HasNews: true, []) { Locked = WhyLocked(device) };
                }

                List<CatalogLog.OtherLine> its = lines.FindAll(line => line.Header.Device == device);
                bool hasNews = its.Exists(line => line.Catalog.Heads().Any(head => _domains.ContainsKey(head.Head.Domain) && !HasHead(head.Head)));
                return new DeviceAnswers(device, NameOf(device), its.Count > 0 ? its.Max(static line => line.Catalog.LastDate) : null, hasNews, its);
            }),
        ];
    }

    internal string NameOf(uint device) => Catalog.Certificates().Where(each => each.DeviceNumber == device).MaxBy(static each => each.IssuedAtSeconds)?.DeviceName ?? "?";

    /// <summary>Whether what a device writes counts: it is not revoked.</summary>
    private bool IsHeard(uint device) => Statements.GetValueOrDefault(device) is not { State: DeviceState.Revoked };

    /// <summary>Whether it is another machine, certified and neither retired nor revoked: what it has in its journal it commits itself.</summary>
    private bool IsLivingOther(uint device) => device != _device && Said() is { } said && said.Certified.Contains(device) && !said.InForce.ContainsKey(device);

    private DevicesSaid Said()
    {
        int count = Catalog.DeviceRecordCount; // before what it counts: a record that comes in between makes it be looked at once more
        if (_said is { } said && said.RecordCount == count)
        {
            return said;
        }

        return _said = SaidIn([Catalog], _keys) with { RecordCount = count };
    }

    /// <param name="known">Keys of devices that are trusted already, and stay so unless they are revoked.</param>
    private static DevicesSaid SaidIn(IReadOnlyList<Catalog> catalogs, StoreKeys keys, IReadOnlySet<Bytes32>? known = null)
    {
        DeviceCertificate[] valid = [.. catalogs.SelectMany(static catalog => catalog.Certificates()).Append(keys.Certificate).Where(each => each.IsSignedBy(keys.AccountPublicKey.Span))];
        IReadOnlyDictionary<uint, DeviceStatement> inForce = DeviceStatement.InForce(catalogs.SelectMany(static catalog => catalog.Statements()).Where(statement => valid.Any(statement.IsSignedBy)));
        HashSet<Bytes32> trusted = [KeyOf(keys.Certificate), .. IssuersOf(keys.Certificate).Where(each => inForce.GetValueOrDefault(each.DeviceNumber) is not { State: DeviceState.Revoked }).Select(KeyOf)];
        DeviceVouch[] vouches = [.. catalogs.SelectMany(static catalog => catalog.Vouches())];
        for (int count = 0; count != trusted.Count;)
        {
            count = trusted.Count;
            foreach (DeviceCertificate each in valid.Where(each => !trusted.Contains(KeyOf(each)) && inForce.GetValueOrDefault(each.DeviceNumber) is not { State: DeviceState.Revoked }))
            {
                if (each.Issuer is null || trusted.Contains(KeyOf(each.Issuer)) || (known is not null && known.Contains(KeyOf(each)))
                    || vouches.Any(vouch => vouch.Device == KeyOf(each) && valid.Any(signer => trusted.Contains(KeyOf(signer)) && vouch.IsSignedBy(signer))))
                {
                    trusted.Add(KeyOf(each));
                }
            }
        }

        EpochRecord[] epochs = [.. catalogs.SelectMany(static catalog => catalog.Epochs()).Where(record => valid.Any(maker => trusted.Contains(KeyOf(maker)) && record.IsSignedBy(maker)))];
        return new DevicesSaid(0, inForce, valid.Select(static each => each.DeviceNumber).ToHashSet(), trusted, epochs);
    }

    private IEnumerable<DeviceCertificate> Valid() => Catalog.Certificates().Append(_keys.Certificate).Where(each => each.IsSignedBy(_keys.AccountPublicKey.Span));

    /// <summary>Heads of a device that are known here, those included that other heads contain.</summary>
    private IEnumerable<(VolumeId Volume, ulong Incarnation, ulong Sequence)> KnownHeads(uint device)
    {
        foreach (Head head in Catalog.Heads().Select(static signed => signed.Head))
        {
            if (head.Device == device)
            {
                yield return (head.Volume, head.Incarnation, head.Sequence);
            }

            foreach (HeadSeen seen in head.Seen.Where(seen => seen.Device == device))
            {
                yield return (head.Volume, seen.Incarnation, seen.Sequence);
            }
        }
    }

    /// <summary>First of all what others say of devices: it decides who is heard.</summary>
    private void TakeStatements(IReadOnlyList<CatalogLog.OtherLine> others)
    {
        VouchForEnrolled([.. others.SelectMany(static other => other.Catalog.Statements())
            .Where(said => said.State == DeviceState.Revoked && Catalog.Statements().All(known => !known.Bytes.SequenceEqual(said.Bytes))).Select(static said => said.Device)]);
        foreach (CatalogLog.OtherLine other in others)
        {
            AddCertificates(other.Catalog.Certificates());
        }

        foreach (DeviceStatement statement in others.SelectMany(static other => other.Catalog.Statements()))
        {
            if (statement.AccountPublicKey.SequenceEqual(_keys.AccountPublicKey.Span) && Catalog.Statements().All(known => !known.Bytes.SequenceEqual(statement.Bytes)))
            {
                _catalogLog.Append(writer => Catalog.WriteStatement(writer, statement));
            }
        }
    }

    /// <exception cref="StoreException">Another device has retired or revoked this one: it writes nothing more.</exception>
    private void RefuseIfRetired()
    {
        if (Statements.GetValueOrDefault(_device) is { } said)
        {
            string what = said.State == DeviceState.Revoked ? "revoked" : "retired";
            throw new StoreException(
                StoreProblem.Retired,
                $"this device (number {_device}) was {what} by device {said.Signer} ({NameOf(said.Signer)}) on {DateTimeOffset.FromUnixTimeSeconds(said.TimeSeconds):yyyy-MM-dd}: it can be read, and writes nothing more; enrol this machine anew with 'tdfs device join' into another folder");
        }
    }

    /// <summary>The union: arenas that other devices have sealed, where their fragments went since, and what owners have released or taken back.</summary>
    private async ValueTask TakeUpArenasAsync(IReadOnlyList<CatalogLog.OtherLine> others, bool isIndexing, CancellationToken cancel)
    {
        List<CatalogLog.OtherLine> devices = [.. others.Where(other => other.Header.Device != _device)];
        if (devices.Count == 0)
        {
            return;
        }

        List<CatalogLog.OtherLine>? current = null;
        HashSet<ArenaId> released = [.. devices.SelectMany(OwnedBy).Where(static arena => arena.State == ArenaState.Trashed).Select(static arena => arena.Id)];
        foreach (CatalogLog.OtherLine other in devices)
        {
            IReadOnlyDictionary<ushort, HolderRecord> holders = other.Catalog.Holders().ToDictionary(static holder => holder.Number);
            foreach (ArenaRecord theirs in other.Catalog.Arenas())
            {
                bool isSealed = theirs.State is ArenaState.Sealed or ArenaState.Condemned && !released.Contains(theirs.Id);
                bool isOwners = OwnerOf(theirs) == other.Header.Device;
                ArenaRecord? known = Catalog.Arena(theirs.Id);
                FragmentPlace[] places = known is null ? [] : BetterPlaces(known, Translate(theirs, holders), isOwners);
                switch (known)
                {
                    case null when isSealed && !Catalog.Knows(theirs.Id):
                        ArenaRecord taken = AppendTaken(Translate(theirs, holders) with { Ordinal = Catalog.NextOrdinal, AdoptedOnDay = Catalog.RunningDays });
                        if (isIndexing && _index is not null && HasKeysOf(taken))
                        {
                            await IndexArenaAsync(taken, cancel).ConfigureAwait(false);
                        }

                        break;
                    case null when released.Contains(theirs.Id) && !Catalog.Knows(theirs.Id):
                        // Unknown here and in the trash there: a head may want it all the same until its owner has looked, and what lies in the trash can be read.
                        _catalogLog.Append((Translate(theirs, holders) with { Ordinal = Catalog.NextOrdinal, State = ArenaState.Trashed, TrashedOnDay = Catalog.RunningDays, AdoptedOnDay = Catalog.RunningDays }).Write);
                        break;
                    case { State: ArenaState.Sealed or ArenaState.Condemned } ours when isOwners && theirs.State == ArenaState.Trashed:
                        _catalogLog.Append((ours with { State = ArenaState.Trashed, TrashedOnDay = Catalog.RunningDays, Fragments = places }).Write); // our answer: hits on it are misses from here
                        break;
                    case { State: ArenaState.Trashed } ours when isOwners && isSealed:
                        ArenaRecord back = AppendTaken(Translate(theirs, holders) with { Ordinal = ours.Ordinal, AdoptedOnDay = Catalog.RunningDays, Fragments = places });
                        if (isIndexing && _index is not null && HasKeysOf(back))
                        {
                            await IndexArenaAsync(back, cancel).ConfigureAwait(false);
                        }

                        break;
                    case { } ours when !places.SequenceEqual(ours.Fragments):
                        _catalogLog.Append((ours with { Fragments = places }).Write); // a repair put fragments elsewhere; of an arena in the trash as well, which heads may want until its owner has looked
                        break;
                    default:
                        break;
                }
            }
        }

        foreach (uint[] part in Catalog.Arenas().Where(IsForgotten).Select(static arena => arena.Ordinal).Chunk(Catalog.MaxForgetCount))
        {
            _catalogLog.Append(writer => Catalog.WriteForget(writer, part));
        }

        // Its owner knows it no more, by every line of it that goes on (a state folder that was put back leaves an older one behind, which may never have known it), and nobody counts on it.
        bool IsForgotten(ArenaRecord arena)
        {
            if (arena.State != ArenaState.Trashed)
            {
                return false;
            }

            current ??= devices.FindAll(line => !devices.Exists(later => later.Header.Device == line.Header.Device && later.Header.Incarnation != line.Header.Incarnation && later.Catalog.HasSeen(line.Header, line.ValidBytes)));
            List<CatalogLog.OtherLine> owners = current.FindAll(line => line.Header.Device == OwnerOf(arena));
            return owners.Count > 0 && !owners.Exists(line => line.Catalog.Knows(arena.Id)) && !current.Exists(line => line.Catalog.Arena(arena.Id) is { State: ArenaState.Sealed or ArenaState.Condemned });
        }

        IEnumerable<ArenaRecord> OwnedBy(CatalogLog.OtherLine line) => line.Catalog.Arenas().Where(arena => OwnerOf(arena) == line.Header.Device);
    }

    /// <summary>Where each fragment of an arena lies by two catalogs that name different places, since either device may have repaired while the other was away.</summary>
    /// <remarks>
    /// A fragment is put before it is named and nothing is taken from where it was, so both places may have it. What counts is where it can be had: a holder that answers before one that is absent, and that before one
    /// that is no longer configured. Between equals the arena's owner is right, so that all come to agree. An owner that comes back after months so learns where its fragments went, and does not make the others forget it.
    /// </remarks>
    private FragmentPlace[] BetterPlaces(ArenaRecord ours, ArenaRecord theirs, bool areOwners)
    {
        if (ours.Layout != theirs.Layout)
        {
            return [.. ours.Fragments];
        }

        return [.. ours.Fragments.Zip(theirs.Fragments, (our, their) =>
            their.Name == default || (our.Name != default && our.Name != their.Name) ? our
            : our.Name == default || Distance(their) < Distance(our) || (areOwners && Distance(their) == Distance(our)) ? their
            : our)];

        int Distance(FragmentPlace place) => HolderOf(place.Holder) switch { null => 3, { IsGone: true } => 2, { Holder: null } => 1, _ => 0 };
    }

    /// <summary>A reader's index may be of a later state of the catalog, and knows nothing of what the reader takes up: such an arena is looked for in its directory.</summary>
    private ArenaRecord AppendTaken(ArenaRecord arena)
    {
        if (IsWritable)
        {
            return _catalogLog.AppendSealed(arena);
        }

        ArenaRecord last = arena with { SealSequence = long.MaxValue };
        _catalogLog.Append(last.Write);
        return last;
    }

    /// <summary>Another catalog's record in this one's numbers of holders. A holder that is not known here is entered as one that is not configured.</summary>
    private ArenaRecord Translate(ArenaRecord theirs, IReadOnlyDictionary<ushort, HolderRecord> holders) => theirs with
    {
        State = ArenaState.Sealed,
        SealSequence = 0,
        TrashedOnDay = 0,
        Fragments = [.. theirs.Fragments.Select(fragment => holders.TryGetValue(fragment.Holder, out HolderRecord? holder) ? fragment with { Holder = NumberOf(holder) } : fragment with { Holder = FragmentPlace.Nowhere })],
    };

    private ushort NumberOf(HolderRecord theirs)
    {
        lock (_holderGate)
        {
            IReadOnlyList<StoreHolder> holders = Holders;
            if (holders.FirstOrDefault(holder => holder.Id == theirs.Id) is { } known)
            {
                return known.Number;
            }

            if (holders.Count >= FragmentPlace.Nowhere - 1)
            {
                return FragmentPlace.Nowhere;
            }

            var added = new HolderRecord((ushort)holders.Count, theirs.Id, true, theirs.Place);
            _catalogLog.Append(writer => Catalog.WriteHolder(writer, added));
            SetHolders([.. holders, new StoreHolder { Number = added.Number, Id = added.Id, Place = added.Place, IsGone = true }]);
            return added.Number;
        }
    }
}

/// <summary>What another device has answered, by its catalogs at the holders.</summary>
/// <param name="HasNews">It has committed what this store has not marked from.</param>
internal sealed record DeviceAnswers(uint Device, string Name, uint? LastDate, bool HasNews, IReadOnlyList<CatalogLog.OtherLine> Lines)
{
    /// <summary>It writes what cannot be opened here: why; else null.</summary>
    internal string? Locked { get; init; }

    internal bool IsLocked => Locked is not null;

    internal bool HasSeen(ArenaRecord arena) => !HasNews && !IsLocked && BlockStore.HasSeen(Lines, arena);

    internal string Why => Locked is not null ? Locked : Lines.Count == 0
        ? $"device {Device} ({Name}) has not been heard of at any holder that answers"
        : HasNews
            ? $"device {Device} ({Name}) has written meanwhile: run it again"
            : $"device {Device} ({Name}), last here on {DateTimeOffset.FromUnixTimeSeconds(86_400L * LastDate!.Value):yyyy-MM-dd}, has not seen yet what was released";
}
