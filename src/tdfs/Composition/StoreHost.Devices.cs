using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <content>A machine that becomes another device of an account.</content>
/// <remarks>
/// Order: a note that it joins, the answer, the peer list, the device's own catalog (begun with that of the device that went furthest), at the holders too; then the keyring, whose rename makes the store exist; then the note goes.
/// A crash before the keyring leaves a folder that the next join clears, and at the holders at most a device that never comes back, which `tdfs device retire` takes out; the other devices notice nothing else.
/// </remarks>
internal sealed partial class StoreHost
{
    private const string JoinNote = "joining";

    private static readonly TimeSpan s_meetingTurn = TimeSpan.FromSeconds(1);

    /// <summary>How long a new device waits at a folder for the other one.</summary>
    private static readonly TimeSpan s_meetingPatience = TimeSpan.FromMinutes(10);

    public async ValueTask<JoinResult> JoinAsync(JoinRequest request, CancellationToken cancel)
    {
        StorageConfig config = request.Config;
        if (!InvitationCode.TryParse(request.Code, isForDevice: true, out InvitationCode? code, out string? error))
        {
            throw new UserError(ExitCode.Usage, error);
        }

        BeginJoin(config);
        DeviceKeys device = DeviceKeys.Create(random);
        Keyring keyring;
        IReadOnlyList<EnrolmentHolder> told;
        try
        {
            byte[] sealedRequest = Enrolment.SealRequest(code.Secret.Span, device, request.Name ?? DeviceName(), random);
            byte[] bytes = await AskToEnrolAsync(config, code, device, sealedRequest, cancel).ConfigureAwait(false);
            EnrolmentAnswer answer = Enrolment.TryOpenAnswer(code.Secret.Span, device, bytes)
                ?? throw new UserError(ExitCode.Keys, "what came back was not made for this machine by who gave the code out; try again with a new code");
            if (answer.Certificate.Issuer is not { } issuer || !NodeIdentity.FingerprintOf(issuer.DevicePublicKey).AsSpan().SequenceEqual(code.Fingerprint.Span))
            {
                answer.Dispose();
                throw new UserError(ExitCode.Keys, "what came back was signed by another device than the one that gave the code out; try again with a new code");
            }

            told = answer.Holders;
            keyring = new Keyring(
                answer.AccountPublicKey.Span, answer.RecoveryPublicKey.Span, answer.Tag, answer.AnchorKey, device, answer.Certificate.DeviceName, answer.Certificate, SecretBytes.Random(random, KeyDomain.SecretSize));
            foreach (KeyDomain domain in answer.Domains)
            {
                keyring.Add(domain);
            }
        }
        catch
        {
            device.Dispose();
            throw;
        }

        using (keyring)
        {
            await WritePeersAsync(config, keyring, [.. told.Select(static holder => new AnchorHolder(holder.Id, holder.Place, holder.Address))], null, null, cancel).ConfigureAwait(false);
            BlockStore store;
            try
            {
                store = await OpenStoreAsync(config, keyring, Facades.StoreAccess.Write, "device join", NewHolders.Replace, mustExist: true, cancel).ConfigureAwait(false);
            }
            catch (StoreException missing) when (missing.Problem is StoreProblem.CatalogLost or StoreProblem.HoldersMissing)
            {
                throw new UserError(
                    ExitCode.NoStore,
                    $"this machine is enrolled, and found no catalog of the account at any of {HoldersOf(config).Count} folders or at a peer: name the folders that the other device has as [[holder]] in {config.File}, then ask it for a new code",
                    missing);
            }

            await using (store.ConfigureAwait(false))
            {
                await store.PublishAsync(cancel).ConfigureAwait(false);
                LockKeyring(config, keyring, request.NewPassphrase);
                disk.Delete(config.StorePath + "/" + JoinNote);
                StoreVolumes volumes = VolumesOf(store, keyring, config);
                long snapshots = (await volumes.SnapshotsAsync(null, cancel).ConfigureAwait(false)).Count;
                var result = new JoinResult(keyring.DeviceNumber, keyring.DeviceName, store.Holders.Count(static holder => holder.Holder is not null), store.Catalog.Arenas().Count, snapshots);
                LetGoOfHolders(store);
                return result;
            }
        }
    }

    /// <summary>Refuses where a store is, clears what a join that was killed left, and notes that one is under way.</summary>
    private void BeginJoin(StorageConfig config)
    {
        string note = config.StorePath + "/" + JoinNote;
        if (disk.FileExists(KeyringPath(config.StorePath)))
        {
            throw new UserError(ExitCode.Exists, $"{config.StorePath} holds a store already; name another folder with --store, or use the one there");
        }

        bool isLeftOver = disk.FileExists(note);
        if (!isLeftOver && HasFiles(config.StorePath + "/catalog"))
        {
            throw new UserError(ExitCode.Exists, $"{config.StorePath} holds the catalog of a store whose keyring is gone; bring it back with 'tdfs recover', or name another folder with --store");
        }

        disk.CreateDirectory(config.StorePath);
        if (!isLeftOver)
        {
            using IDiskFile file = disk.Open(note, DiskOpen.CreateNew);
            file.Sync();
            disk.SyncDirectory(config.StorePath);
            return;
        }

        foreach (string folder in (string[])["catalog", "journal", "index", "caches"])
        {
            if (disk.DirectoryExists($"{config.StorePath}/{folder}"))
            {
                disk.DeleteDirectory($"{config.StorePath}/{folder}");
            }
        }

        foreach (string file in (string[])["writer", PeerFile.Name, "keyring.new"])
        {
            if (disk.FileExists($"{config.StorePath}/{file}"))
            {
                disk.Delete($"{config.StorePath}/{file}");
            }
        }
    }

    /// <summary>By the network where the code has an address, else by a holder's folder.</summary>
    private async ValueTask<byte[]> AskToEnrolAsync(StorageConfig config, InvitationCode code, DeviceKeys device, byte[] sealedRequest, CancellationToken cancel)
    {
        string[] folders = [.. HoldersOf(config).Select(static holder => holder.Path).Where(path => disk.FileExists(path + "/holder"))];
        if (code.Addresses.Count > 0)
        {
            using var entropy = SecretBytes.Random(random, Words.EntropySize);
            using AccountKeys nobody = AccountKeys.FromEntropy(entropy.Span); // who has no account yet shows one that nobody knows
            DeviceCertificate shown = DeviceCertificate.Issue(nobody, device, FirstDevice, DeviceName(), clock.GetUtcNow().ToUnixTimeSeconds());
            using var connection = new PeerConnection("the other device", code.Addresses, new ExpectedIdentity { Fingerprint = code.Fingerprint }, new NodeCertificate(device, shown, clock), clock);
            for (bool isFirst = true; ; isFirst = false)
            {
                try
                {
                    return await Enrol.AskAsync(connection, code, sealedRequest, cancel).ConfigureAwait(false);
                }
                catch (PeerException refused) when (refused.Problem is PeerProblem.Used or PeerProblem.Expired)
                {
                    throw Refused(refused.Problem == PeerProblem.Used ? EnrolOutcome.Used : EnrolOutcome.Expired);
                }
                catch (PeerException refused) when (refused.Problem == PeerProblem.NotLetIn && isFirst)
                {
                    await Task.Delay(TimeSpan.FromSeconds(3), clock, cancel).ConfigureAwait(false); // its node reads new codes every two seconds
                }
                catch (PeerException refused) when (refused.Problem == PeerProblem.NotLetIn)
                {
                    throw new UserError(ExitCode.Keys, $"{connection.Where}: it knows no such code; ask for a new one", refused);
                }
                catch (PeerException unreachable) when (folders.Length > 0 && unreachable.Problem is PeerProblem.Unreachable)
                {
                    say($"{unreachable.Message}; trying the folders of storage.toml instead");
                    break;
                }
            }
        }

        if (folders.Length == 0)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no [[holder]] with a holder in its folder, expected one that the other device has too: this code has no address");
        }

        var meeting = new FolderMeeting(disk, folders, random, code.Secret);
        if (await meeting.TryTakeAsync(cancel).ConfigureAwait(false) is (EnrolOutcome.Used or EnrolOutcome.Expired, _) and var over)
        {
            throw Refused(over.Outcome);
        }

        if (!await meeting.LeaveAsync(sealedRequest, cancel).ConfigureAwait(false))
        {
            throw new UserError(ExitCode.DiskFailed, $"{folders[0]}: cannot be written, expected a folder for the two machines to meet at");
        }

        say($"waiting at {string.Join(" and ", folders)} for the other device, where `tdfs device add` must be running");
        long began = clock.GetTimestamp();
        bool isUsed = false;
        try
        {
            while (clock.GetElapsedTime(began) < s_meetingPatience)
            {
                switch (await meeting.TryTakeAsync(cancel).ConfigureAwait(false))
                {
                    case (EnrolOutcome.Done, { } answer) when IsForUs(answer):
                        isUsed = true;
                        return answer;
                    case (EnrolOutcome.Done, _):
                        await meeting.LeaveAsync(sealedRequest, cancel).ConfigureAwait(false); // made for one that was killed
                        break;
                    case (EnrolOutcome outcome, _):
                        isUsed = outcome == EnrolOutcome.Used;
                        throw Refused(outcome);
                    default:
                        break;
                }

                await Task.Delay(s_meetingTurn, clock, cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            await meeting.CleanAsync(isUsed, CancellationToken.None).ConfigureAwait(false);
        }

        throw new UserError(ExitCode.Peer, "nobody answered within 10 minutes; let `tdfs device add` run on the other device, and use the code that it prints");

        bool IsForUs(byte[] answer)
        {
            using EnrolmentAnswer? opened = Enrolment.TryOpenAnswer(code.Secret.Span, device, answer);
            return opened is not null;
        }
    }

    private static UserError Refused(EnrolOutcome outcome) => outcome switch
    {
        EnrolOutcome.Used => new UserError(ExitCode.Peer, "the code was used already; ask for a new one with `tdfs device add`"),
        EnrolOutcome.Expired => new UserError(ExitCode.Peer, "the code has expired by the other device's clock; ask for a new one with `tdfs device add`"),
        _ => new UserError(ExitCode.Keys, "the other device knows no such code; ask for a new one with `tdfs device add`"),
    };

    /// <summary>The number that a machine gets which the words enrol: one above all that were ever heard of.</summary>
    private static uint NextDevice(FoundAccount found)
    {
        uint highest = found.Devices.Concat(found.Certificates.Select(static certificate => certificate.DeviceNumber)).DefaultIfEmpty().Max();
        return highest < DeviceCertificate.MaximumDeviceNumber ? highest + 1 : throw new UserError(ExitCode.Usage, $"device numbers end at {DeviceCertificate.MaximumDeviceNumber}, and one with it is known");
    }
}
