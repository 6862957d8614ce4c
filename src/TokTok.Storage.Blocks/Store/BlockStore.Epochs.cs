using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <content>Epochs of the keys: begun when a device is revoked, given to the others, and waited for where they have not come yet.</content>
/// <remarks>
/// Format: docs/format.md 3.2, 9 (record 11), 11.2. An epoch is fit to be written under if its maker is not revoked and it was made when every device was revoked that is so now. A writer that has none that is fit makes one:
/// by `tdfs device revoke`, or whoever opens the store next, should that one have died on the way, or should two have revoked two devices without knowing of each other.
/// Order: keyring, objects at the holders, record, and only then the first byte under it. A crash before the record leaves an epoch that nobody writes under, and another is made.
/// What is under an epoch that is not here yet is never taken for damaged, unknown or absent: its logs are <see cref="LogCopies.Locked"/>, their writers have not answered, and nothing is deleted.
/// </remarks>
public sealed partial class BlockStore
{
    private readonly HashSet<HolderId> _haveEpochs = [];
    private readonly HashSet<uint> _toldLocked = [];
    private int _epochsFor; // devices and epochs that were known when the holders got theirs

    /// <summary>Whether what is written now is unreadable to every device that is revoked.</summary>
    public bool AreKeysFit => _domains.Values.All(domain => domain.Kind == DomainKind.Burnable || FitEpoch(domain, Said()) is not null);

    /// <summary>Begins an epoch of each domain that a revoked device has the newest of. Durable, and at the holders, on return.</summary>
    /// <exception cref="InvalidOperationException">A domain has room for no more epochs.</exception>
    public async ValueTask BeginEpochsAsync(CancellationToken cancel)
    {
        ThrowIfNotWritable();
        await _commitGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            var begun = new List<(KeyDomain Domain, uint Epoch)>();
            foreach (KeyDomain domain in _domains.Values.Where(static domain => domain.Kind != DomainKind.Burnable))
            {
                uint? fit = FitEpoch(domain, Said());
                if (fit is null && _keys.Keep is not null)
                {
                    fit = await MakeEpochAsync(domain, cancel).ConfigureAwait(false);
                }

                if (fit is { } epoch && epoch != domain.CurrentEpoch)
                {
                    begun.Add((domain, epoch));
                }
            }

            if (begun.Count > 0)
            {
                _wrappedDomains = null;
                _haveKeys.Clear();
            }

            await GoOnUnderAsync(begun, cancel).ConfigureAwait(false);
            if (begun.Count > 0)
            {
                await PublishLockedAsync(cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            _commitGate.Release();
        }
    }

    /// <summary>The same where nobody looks on: where it cannot be done now it is said, and what is written goes on under the keys there are.</summary>
    private async ValueTask BeginFittingEpochsAsync(CancellationToken cancel)
    {
        try
        {
            await BeginEpochsAsync(cancel).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is DiskException or InvalidOperationException && _failure is null)
        {
            Note($"{failure.Message}; what is written now is readable to the devices that were revoked, until a later run begins new keys");
        }
    }

    /// <summary>Other devices that get new keys though one that enrolled them is revoked.</summary>
    public IReadOnlyList<uint> EnrolledByRevoked() =>
        [.. Recipients().Where(certificate => certificate.DeviceNumber != _device && IssuersOf(certificate).Any(issuer => !IsHeard(issuer.DeviceNumber))).Select(static certificate => certificate.DeviceNumber).Distinct().Order()];

    /// <summary>The newest epoch whose maker is not revoked, and that was made when all were revoked that are so now; null: there is none.</summary>
    private static uint? FitEpoch(KeyDomain domain, DevicesSaid said)
    {
        uint[] revoked = [.. said.InForce.Values.Where(static said => said.State == DeviceState.Revoked).Select(static said => said.Device)];
        foreach (uint epoch in domain.Epochs.Reverse())
        {
            IReadOnlyList<uint> without = said.Epochs.FirstOrDefault(record => record.Domain == domain.Id && record.Epoch == epoch)?.Revoked ?? [];
            if (!revoked.Contains(KeyDomain.MakerOf(epoch)) && revoked.All(without.Contains))
            {
                return epoch;
            }
        }

        return null;
    }

    /// <summary>What is written under until it is known better: the newest that is fit, else the newest.</summary>
    private static void UseFitting(IReadOnlyList<KeyDomain> domains, DevicesSaid said)
    {
        foreach (KeyDomain domain in domains)
        {
            domain.Use(FitEpoch(domain, said) ?? domain.Epochs[^1]);
        }
    }

    // A crash before step 3 leaves an epoch in the keyring, and with other devices, that nobody ever writes under: the next opening makes another, since a device may have been revoked that was given this one.
    // After it the next opening goes on under it.
    private async ValueTask<uint> MakeEpochAsync(KeyDomain domain, CancellationToken cancel)
    {
        IReadOnlyDictionary<uint, DeviceStatement> inForce = Statements;
        uint[] revoked = [.. inForce.Values.Where(static said => said.State == DeviceState.Revoked).Select(static said => said.Device).Order()];
        DeviceCertificate[] recipients = [.. Recipients()];
        using KeyDomain next = domain.Copy();
        uint last = domain.Epochs.LastOrDefault(epoch => !revoked.Contains(KeyDomain.MakerOf(epoch)));
        uint made = next.AddEpoch(_device, last, _random);
        next.Use(made);
        _keys.Keep!(next);                                                                                // 1. this device has it, whatever happens
        int count = 0;
        DiskException? problem = null;
        foreach (IFragmentHolder holder in ReachableHolders())                                            // 2. the others can have it, and the words
        {
            try
            {
                await PutKeysAsync(holder, next, KeyWrap.Wrap(next, _keys.RecoveryPublicKey.Span, _random), cancel).ConfigureAwait(false);
                await PutEpochsAsync(holder, next, recipients, cancel).ConfigureAwait(false);
                count++;
            }
            catch (DiskException failure)
            {
                problem = failure;
                Note($"{failure.Message}; what is there of the new keys is completed at the next publication");
            }
        }

        if (count == 0 && problem is not null)
        {
            throw problem;
        }

        try
        {
            _catalogLog.Append(EpochRecord.Sign(domain.Id, made, revoked, _keys.Certificate, _keys.DeviceKeys).Write); // 3. it is begun
            _catalogLog.Sync();
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }

        await _catalogLog.PublishAsync(ReachableHolders(), cancel).ConfigureAwait(false);                 // 4. in the older file too: a release that does not know epochs stops at it
        domain.Merge(next, out _);                                                                        // 5. here
        return made;
    }

    /// <summary>From here on is written under these; catalog and journal go on in files under the realm's, so that whoever does not have it sees nothing of what they hold from here on. The caller holds the commit gate.</summary>
    /// <remarks>No flush comes between: no clump of the newer epoch stands in a journal of the older, and no head in such a catalog. What is open under the older epoch is sealed under it.</remarks>
    private async ValueTask GoOnUnderAsync(List<(KeyDomain Domain, uint Epoch)> begun, CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            foreach ((KeyDomain domain, uint epoch) in begun)
            {
                domain.Use(epoch);
            }

            if (_journal.Epoch != _keys.Realm.CurrentEpoch)
            {
                await RenewJournalAsync(CancellationToken.None).ConfigureAwait(false);
            }

            if (_catalogLog.Epoch != _keys.Realm.CurrentEpoch)
            {
                _catalogLog.Renew();
            }
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }
        finally
        {
            _flushGate.Release();
        }

        if (begun.Count > 0)
        {
            await _catalogLog.PublishAsync(ReachableHolders(), cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Whether a journal holds blocks under keys that are not here yet: it is read again when they are.</summary>
    private bool LacksKeysOf(List<JournalClump> clumps) => clumps.Exists(clump => _domains.TryGetValue(clump.Domain, out KeyDomain? domain) && !domain.HasEpoch(clump.Epoch));

    /// <summary>What other devices' catalogs say of epochs, and for whom they vouch, as far as it is signed by whose it is.</summary>
    private void TakeEpochRecords(IReadOnlyList<CatalogLog.OtherLine> others)
    {
        DeviceCertificate[] valid = [.. Valid()];
        foreach (CatalogLog.OtherLine other in others)
        {
            foreach (DeviceVouch vouch in other.Catalog.Vouches().Where(vouch => !Catalog.Vouches().Any(vouch.IsSame) && valid.Any(vouch.IsSignedBy)))
            {
                _catalogLog.Append(vouch.Write);
            }

            foreach (EpochRecord record in other.Catalog.Epochs().Where(record => !Catalog.Epochs().Any(known => known.Domain == record.Domain && known.Epoch == record.Epoch) && valid.Any(record.IsSignedBy)))
            {
                _catalogLog.Append(record.Write);
            }
        }
    }

    /// <summary>Before it is heard that a device is revoked: whom it enrolled, and is known and trusted until now, stays so. Whoever it enrols later does not become so: a thief makes himself no device that is given keys.</summary>
    private void VouchForEnrolled(IReadOnlyList<uint> revoked)
    {
        if (revoked.Count == 0)
        {
            return;
        }

        foreach (DeviceCertificate certificate in Valid().Where(IsTrusted).Where(certificate => IssuersOf(certificate).Any(issuer => revoked.Contains(issuer.DeviceNumber))).DistinctBy(KeyOf).ToList())
        {
            if (KeyOf(certificate) != KeyOf(_keys.Certificate) && !Catalog.Vouches().Any(vouch => vouch.Signer == _device && vouch.Device == KeyOf(certificate)))
            {
                _catalogLog.Append(DeviceVouch.Sign(KeyOf(certificate), _keys.Certificate, _keys.DeviceKeys).Write);
            }
        }
    }

    private static Bytes32 KeyOf(DeviceCertificate certificate) => Bytes32.Read(certificate.DevicePublicKey);

    private static IEnumerable<DeviceCertificate> IssuersOf(DeviceCertificate certificate)
    {
        for (DeviceCertificate? issuer = certificate.Issuer; issuer is not null; issuer = issuer.Issuer)
        {
            yield return issuer;
        }
    }

    /// <summary>Whether a device gets new epochs, and they are taken from it.</summary>
    private bool IsTrusted(DeviceCertificate certificate) => IsHeard(certificate.DeviceNumber) && Said().Trusted.Contains(KeyOf(certificate));

    private IEnumerable<DeviceCertificate> Recipients() => Valid().Where(IsTrusted).DistinctBy(static certificate => EpochKeys.DigitsOf(certificate.AgreementPublicKey));

    /// <summary>Sees to it, once a process, that a holder has every epoch for every device that may have it. One that was enrolled by somebody who lacked the newest gets it so.</summary>
    private async ValueTask PutEpochsAsync(IFragmentHolder holder, CancellationToken cancel)
    {
        int known = Catalog.DeviceRecordCount;
        if (_epochsFor != known)
        {
            _epochsFor = known;
            _haveEpochs.Clear();
        }

        if (_haveEpochs.Contains(holder.Id))
        {
            return;
        }

        foreach (KeyDomain domain in _domains.Values.Where(static domain => domain.Kind != DomainKind.Burnable && domain.Epochs.Count > 1))
        {
            await PutEpochsAsync(holder, domain, [.. Recipients()], cancel).ConfigureAwait(false);
        }

        _haveEpochs.Add(holder.Id);
    }

    private async ValueTask PutEpochsAsync(IFragmentHolder holder, KeyDomain domain, IReadOnlyList<DeviceCertificate> recipients, CancellationToken cancel)
    {
        HashSet<string> there = [.. (await holder.ListObjectsAsync(EpochKeys.PrefixOf(_keys.Tag) + domain.Id, cancel).ConfigureAwait(false)).Select(static found => found.Name)];
        foreach (uint epoch in domain.Epochs.Skip(1)) // the first came with the enrolment
        {
            foreach (DeviceCertificate recipient in recipients)
            {
                string name = EpochKeys.NameOf(_keys.Tag, domain.Id, epoch, recipient.AgreementPublicKey);
                if (!there.Contains(name))
                {
                    byte[] bytes = EpochKeys.Write(_keys.Tag, domain, epoch, recipient, _keys.AnchorKey.Span, _keys.Certificate, _keys.DeviceKeys, _random);
                    await holder.PutObjectAsync(name, bytes, cancel).ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>Takes what other devices left for this one. True: there was something new.</summary>
    /// <param name="said">What is known of devices: from one that is revoked nothing is taken.</param>
    /// <param name="keeps">Whether it goes into the keyring's file too, which only the writer may change.</param>
    private static async ValueTask<bool> TakeEpochsAsync(
        StoreKeys keys, IReadOnlyList<IFragmentHolder> holders, DevicesSaid said, bool keeps, Action<string> note, CancellationToken cancel)
    {
        bool isNew = false;
        byte[] ours = keys.DeviceKeys.AgreementPublicKey.ToArray();
        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                foreach (HolderObject found in await holder.ListObjectsAsync(EpochKeys.PrefixOf(keys.Tag), cancel).ConfigureAwait(false))
                {
                    if (found.Length > EpochKeys.MaxBytes || !EpochKeys.TryParse(found.Name, keys.Tag, ours, out DomainId id, out uint epoch)
                        || keys.Domains.FirstOrDefault(each => each.Id == id) is not { } domain || domain.HasEpoch(epoch))
                    {
                        continue;
                    }

                    try
                    {
                        var left = EpochKeys.Read(
                            await AccountFinder.ReadObjectAsync(holder, found.Name, cancel).ConfigureAwait(false), epoch, ours, keys.AnchorKey.Span, keys.AccountPublicKey.Span, found.Name);
                        isNew |= said.Trusted.Contains(KeyOf(left.Signer))
                            ? Take(keys, domain, epoch, left, keeps, note)
                            : throw new DamagedFormatException($"{found.Name}: found it signed by device {left.Signer.DeviceNumber}, expected a device that is not revoked, nor enrolled by one that is");
                    }
                    catch (DamagedFormatException damage)
                    {
                        note($"{damage.Message}; it is not taken");
                    }
                }
            }
            catch (DiskException failure)
            {
                note($"{failure.Message}; keys that lie there are taken when it answers");
            }
        }

        return isNew;
    }

    private static bool Take(StoreKeys keys, KeyDomain domain, uint epoch, EpochKeys found, bool keeps, Action<string> note)
    {
        if (!keys.DeviceKeys.TryUnwrap(found.WrappedDomain.Span, out KeyDomain? theirs))
        {
            throw new DamagedFormatException($"the keys of epoch {epoch} by device {found.Signer.DeviceNumber} do not open");
        }

        using (theirs)
        using (KeyDomain next = domain.Copy())
        {
            if (theirs.Id != domain.Id || !theirs.HasEpoch(epoch))
            {
                throw new DamagedFormatException($"device {found.Signer.DeviceNumber} wrapped domain {theirs.Id} without epoch {epoch}, expected {domain.Id} with it");
            }

            int taken = next.Merge(theirs, out IReadOnlyList<uint> conflicts);
            foreach (uint conflict in conflicts)
            {
                note($"key domain {domain.Id}, epoch {conflict}: device {found.Signer.DeviceNumber} has other keys under this number than this device; what is here is kept");
            }

            if (taken > 0)
            {
                if (keeps)
                {
                    keys.Keep?.Invoke(next); // 1. durable: what is written under it rests on it
                }

                domain.Merge(next, out _);   // 2. in use
            }

            return taken > 0;
        }
    }

    /// <summary>Takes what others left for this device, if somebody writes under keys that are not here. False: there was nothing new.</summary>
    private async ValueTask<bool> TakeEpochsAsync(IReadOnlyList<LogCopy> locked, CancellationToken cancel)
    {
        if (!locked.Any(copy => IsHeard(copy.Header.Device)))
        {
            return false;
        }

        await _commitGate.WaitAsync(cancel).ConfigureAwait(false); // one at a time changes the keyring, and what holders have of it
        try
        {
            if (await TakeEpochsAsync(_keys, ReachableHolders(), Said(), IsWritable, Note, cancel).ConfigureAwait(false))
            {
                _wrappedDomains = null;
                _haveKeys.Clear();
                _haveEpochs.Clear();
                return true;
            }
        }
        finally
        {
            _commitGate.Release();
        }

        NoteLocked(locked);
        return false;
    }

    /// <summary>What all catalogs that can be read say of devices: it decides from whom keys are taken, before anything else of them is. Who was trusted by this device's own stays so unless it is revoked.</summary>
    private static async ValueTask<DevicesSaid> SaidByAllAsync(
        Catalog own, LogCopies copies, StoreKeys keys, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, CancellationToken cancel)
    {
        List<CatalogLog.OtherLine> lines = await CatalogLog.ReadDevicesAsync(copies, keys.Device, holders, random, cancel).ConfigureAwait(false);
        return SaidIn([own, .. lines.Select(static line => line.Catalog)], keys, SaidIn([own], keys).Trusted);
    }

    /// <summary>Says once of each device that it cannot be followed yet.</summary>
    private void NoteLocked(IReadOnlyList<LogCopy> locked)
    {
        if (Statements.GetValueOrDefault(_device) is { State: DeviceState.Revoked })
        {
            return; // it will not get them
        }

        foreach (LogCopy copy in locked.Where(copy => IsHeard(copy.Header.Device)).OrderByDescending(static copy => copy.Header.Number).DistinctBy(static copy => copy.Header.Device))
        {
            if (_toldLocked.Add(copy.Header.Device))
            {
                Note($"{WhyLocked(copy.Header.Device)}; what it wrote since is not seen here, and nothing is deleted meanwhile");
            }
        }
    }

    internal string WhyLocked(uint device) =>
        $"device {device} ({(device == _device ? _keys.Certificate.DeviceName : NameOf(device))}) writes under keys this device does not have yet; they come with the next meeting of a holder that has them: {string.Join(", ", Holders.Where(static holder => !holder.IsGone).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal))}";

    /// <exception cref="StoreException">The state folder's own logs cannot be opened, or what a new device would begin with: nothing may be rested on what is older.</exception>
    private static void RefuseIfLocked(StoreOptions options, StoreKeys keys, LoadedLogs loaded)
    {
        if (loaded.Locked.FirstOrDefault(static copy => copy.LocalPath is not null) is { } own)
        {
            throw new StoreException(
                StoreProblem.KeysMissing,
                $"{own.Where}: found epoch {own.Header.Epoch} of the keys, expected one of {string.Join(", ", keys.Realm.Epochs)}, which the keyring has: it is older than the store; put back a newer copy of it, attach the holders where other devices left its keys, or move the folder away and run 'tdfs recover'");
        }

        if (options.MustExist && loaded.Locked.Count > 0 && (loaded.Catalog.IsTakenOver(keys.Device) || !loaded.Catalog.WasFound))
        {
            uint device = loaded.Locked[0].Header.Device;
            throw new StoreException(
                StoreProblem.KeysMissing,
                $"{options.StateFolder}: device {device} writes under epoch {loaded.Locked[0].Header.Epoch} of the keys, which the device that enrolled this one did not have; let device {device} enrol it, or open the store there first, so that it takes them");
        }
    }
}
