using System.Globalization;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The account's devices over an open store: list, codes for new ones, retiring and revoking.</summary>
/// <remarks>Owns nothing. A code needs no store that writes: it lies in a file beside it, which a running node reads too.</remarks>
internal sealed class StoreDevices(BlockStore store, Keyring keyring, StorageConfig config, IDisk disk, IRandomSource random, TimeProvider clock, Action<string> say) : IDevices
{
    private static readonly TimeSpan s_turn = TimeSpan.FromSeconds(1);

    private EnrolmentFile File => new(disk, config.StorePath, keyring.CacheKey, random, clock);

    private long Now => clock.GetUtcNow().ToUnixTimeSeconds();

    public async ValueTask<IReadOnlyList<DeviceStatus>> ListAsync(CancellationToken cancel) =>
        [.. (await store.DevicesAsync(cancel).ConfigureAwait(false)).Select(Status)];

    public async ValueTask<OfferResult> OfferAsync(TimeSpan validFor, CancellationToken cancel)
    {
        if (keyring.Certificate.LinkCount >= DeviceCertificate.MaximumLinks)
        {
            throw new UserError(ExitCode.Usage, $"this device is {DeviceCertificate.MaximumLinks} enrolments away from the words and can enrol no other; use an older device, or the words: 'tdfs device join --words'");
        }

        IReadOnlyList<NodeAddress> addresses = new StorePeers(config, keyring, ownsKeyring: false, disk, random, clock, say).OwnAddresses();
        string[] folders = [.. store.Holders.Where(static holder => holder.Holder is FolderHolder && !holder.IsGone).Select(static holder => holder.Address)];
        if (addresses.Count == 0 && folders.Length == 0)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found neither [node] listen nor a holder's folder, expected one of them for the two machines to meet at");
        }

        uint highest = await HighestNumberAsync(cancel).ConfigureAwait(false);
        byte[] secret = new byte[InvitationCode.SecretSize];
        random.Fill(secret);
        long expires = Now + (long)validFor.TotalSeconds;
        EnrolmentHolder[] holders = [.. store.Holders.Where(static holder => !holder.IsGone).Take(Enrolment.MaxHolders).Select(static holder => new EnrolmentHolder(holder.Id, holder.Place, holder.Address))];
        uint device = 0;
        try
        {
            await File.ChangeAsync(
                offers =>
                {
                    device = checked(Math.Max(highest, offers.Select(static offer => offer.Device).DefaultIfEmpty().Max()) + 1);
                    if (device > DeviceCertificate.MaximumDeviceNumber)
                    {
                        throw new InvalidOperationException($"device numbers end at {DeviceCertificate.MaximumDeviceNumber}");
                    }

                    return EnrolmentFile.With(offers, new EnrolmentOffer { Secret = secret, Device = device, MadeAtSeconds = Now, ExpiresAtSeconds = expires, Holders = holders }, Now);
                },
                cancel).ConfigureAwait(false);
        }
        catch (InvalidOperationException full)
        {
            throw new UserError(ExitCode.Usage, $"{full.Message}; wait until some have been used or expired for 30 days", full);
        }
        catch (DamagedFormatException damage)
        {
            throw new UserError(ExitCode.Damaged, $"{damage.Message}; move the file away: codes that were given out count no more then", damage);
        }

        var code = new InvitationCode { Secret = secret, Fingerprint = NodeIdentity.FingerprintOf(keyring.Certificate.DevicePublicKey), Addresses = addresses, IsForDevice = true };
        return new OfferResult(code.ToString(), expires, device, [.. addresses.Select(static address => address.ToString())], folders);
    }

    public async ValueTask<string?> WaitAsync(OfferResult offer, CancellationToken cancel)
    {
        if (!InvitationCode.TryParse(offer.Code, isForDevice: true, out InvitationCode? code, out string? error))
        {
            throw new InvalidOperationException(error);
        }

        var desk = new EnrolDesk(File, keyring, random, clock, say);
        var meeting = new FolderMeeting(disk, offer.Folders, random, code.Secret);
        await meeting.ClearAsync(cancel).ConfigureAwait(false);
        for (bool isLast = false; ; isLast = Now >= offer.ExpiresAtSeconds)
        {
            desk.Refresh();
            await meeting.AnswerAsync(desk, cancel).ConfigureAwait(false);
            if (File.Read().FirstOrDefault(each => each.Secret.Span.SequenceEqual(code.Secret.Span)) is { UsedAtSeconds: > 0 } used)
            {
                return used.UsedByName; // here, or by a node that runs
            }

            if (isLast)
            {
                return null;
            }

            await Task.Delay(s_turn, clock, cancel).ConfigureAwait(false);
        }
    }

    public ValueTask<DeviceStatus> RetireAsync(string device, CancellationToken cancel) => SayAsync(device, DeviceState.Retired, cancel);

    public async ValueTask<DeviceStatus> RevokeAsync(string device, CancellationToken cancel)
    {
        DeviceStatus revoked = await SayAsync(device, DeviceState.Revoked, cancel).ConfigureAwait(false);                  // 1. it is not heard any more
        string? problem = null;
        try
        {
            await store.BeginEpochsAsync(cancel).ConfigureAwait(false);                           // 2. and reads nothing new; where this ends here the next opening does it
        }
        catch (Exception failure) when (failure is DiskException or InvalidOperationException)
        {
            problem = failure.Message;
        }

        var news = new RevocationNews(store, config.StorePath, keyring, disk, random, clock);
        _ = await news.WriteAsync(cancel).ConfigureAwait(false);
        IReadOnlyList<DeviceInfo> devices = await store.DevicesAsync(cancel).ConfigureAwait(false);
        return revoked with
        {
            Untold = await news.TellAsync(cancel).ConfigureAwait(false),                                                  // 3. the peers
            KeysProblem = store.AreKeysFit ? null : problem ?? "no keys were begun",
            Enrolled = [.. store.EnrolledByRevoked().Select(number => $"{number} ({devices.FirstOrDefault(each => each.Number == number)?.Name ?? "?"})")],
        };
    }

    public async ValueTask<IReadOnlyList<string>> WaitingForAsync(CancellationToken cancel) =>
    [
        .. (await ListAsync(cancel).ConfigureAwait(false)).Where(static device => device.UnseenBytes > 0).Select(static device =>
            $"device {device.Number} ({TerminalText.Clean(device.Name)}), {(device.LastSeen is { } day ? $"last here on {Day(day)}" : "not heard of yet")}, to see that {Show.Size(device.UnseenBytes)} are released (if it will not come back: 'tdfs device retire {device.Number}')"),
    ];

    internal static string Day(DateOnly day) => day.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    private async ValueTask<DeviceStatus> SayAsync(string device, DeviceState state, CancellationToken cancel)
    {
        IReadOnlyList<DeviceInfo> devices = await store.DevicesAsync(cancel).ConfigureAwait(false);
        DeviceInfo[] named = [.. devices.Where(each => uint.TryParse(device, NumberStyles.None, CultureInfo.InvariantCulture, out uint number) ? each.Number == number : each.Name == device)];
        DeviceInfo found = named.Length switch
        {
            0 => throw new UserError(ExitCode.NotFound, $"no device is called {TerminalText.Clean(device)}; `tdfs device list` shows them"),
            1 => named[0],
            _ => throw new UserError(ExitCode.Usage, $"{named.Length} devices are called {TerminalText.Clean(device)}; give the number, as `tdfs device list` shows it"),
        };
        if (found.IsOwn)
        {
            throw new UserError(ExitCode.Usage, "found this device's own number, expected another's: a device is retired or revoked from another one of the account");
        }

        if (found.State < state)
        {
            await store.SayAsync(found.Number, state, cancel).ConfigureAwait(false);
        }

        return Status((await store.DevicesAsync(cancel).ConfigureAwait(false)).First(each => each.Number == found.Number));
    }

    /// <summary>Of all devices that were ever heard of here, or have left a catalog at a holder.</summary>
    private async ValueTask<uint> HighestNumberAsync(CancellationToken cancel)
    {
        uint highest = (await store.DevicesAsync(cancel).ConfigureAwait(false)).Max(static device => device.Number);
        foreach (StoreHolder holder in store.Holders.Where(static holder => holder is { Holder: not null, IsGone: false }))
        {
            foreach (HolderObject log in await holder.Holder!.ListObjectsAsync("catalog/", cancel).ConfigureAwait(false))
            {
                string name = log.Name["catalog/".Length..];
                if (name.Length > 8 && name[8] == '-' && uint.TryParse(name.AsSpan(0, 8), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint number) && number <= DeviceCertificate.MaximumDeviceNumber)
                {
                    highest = Math.Max(highest, number);
                }
            }
        }

        return highest;
    }

    private static DeviceStatus Status(DeviceInfo device) => new()
    {
        Number = device.Number,
        Name = device.Name,
        EnrolledAtSeconds = device.EnrolledAtSeconds,
        State = device.State switch
        {
            DeviceState.Retired => "retired",
            DeviceState.Revoked => "revoked",
            _ => device.IsOwn ? "this one" : "active",
        },
        LastSeen = device.LastDate is { } day ? DateOnly.FromDateTime(DateTime.UnixEpoch.AddDays(day)) : null,
        UnseenBytes = device.UnseenBytes,
        Adopter = device.Adopter,
    };
}
