using System.Security.Cryptography;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Peers;

/// <summary>What became of a request to be enrolled. Values are part of the protocol.</summary>
public enum EnrolOutcome : byte
{
    Done = 0,

    /// <summary>By the clock of who gave the code out.</summary>
    Expired = 1,

    /// <summary>By another device.</summary>
    Used = 2,

    /// <summary>No such code was given out, or the request was not made with it: nothing is said.</summary>
    Unknown = 255,
}

/// <summary>Where a new device of the account comes in that brings a code.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.8. Codes are looked up in memory, read again every two seconds; the disk is touched only for a request that was made with one.
/// Order: the code is crossed out, durably, before the answer leaves. The same device that asks again, its answer lost, is answered again: with the same certificate, since everything in it is the same.
/// The keyring stays the caller's.
/// </remarks>
public sealed class EnrolDesk(EnrolmentFile file, Keyring keyring, IRandomSource random, TimeProvider clock, Action<string>? trouble)
{
    private volatile IReadOnlyList<EnrolmentOffer> _offers = [];
    private string? _told;

    /// <summary>Reads the codes again. What cannot be read is told once, and no code is known then.</summary>
    public void Refresh()
    {
        try
        {
            _offers = file.Read();
            _told = null;
        }
        catch (Exception failure) when (failure is DiskException or DamagedFormatException)
        {
            _offers = [];
            if (_told != failure.Message)
            {
                _told = failure.Message;
                trouble?.Invoke($"{failure.Message}; no device can be enrolled until the file is moved away");
            }
        }
    }

    /// <summary>Answers one request.</summary>
    public async ValueTask<(EnrolOutcome Outcome, byte[] Answer)> AnswerAsync(ReadOnlyMemory<byte> id, ReadOnlyMemory<byte> sealedRequest, CancellationToken cancel)
    {
        EnrolmentOffer? offer = null;
        foreach (EnrolmentOffer each in _offers)
        {
            offer = CryptographicOperations.FixedTimeEquals(Enrolment.IdOf(each.Secret.Span), id.Span) ? each : offer;
        }

        if (offer is null || !Enrolment.TryOpenRequest(offer.Secret.Span, sealedRequest.Span, out EnrolmentRequest? request))
        {
            return (EnrolOutcome.Unknown, []);
        }

        var device = Bytes32.Read(request.DevicePublicKey.Span);
        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        EnrolOutcome outcome = EnrolOutcome.Unknown;
        EnrolmentOffer used = offer;
        _offers = await file.ChangeAsync(
            offers =>
            {
                if (offers.FirstOrDefault(each => each.Secret.Span.SequenceEqual(offer.Secret.Span)) is not { } known)
                {
                    return offers;
                }

                bool isNew = known.UsedAtSeconds == 0;
                outcome = !isNew ? known.UsedBy == device ? EnrolOutcome.Done : EnrolOutcome.Used : now >= known.ExpiresAtSeconds ? EnrolOutcome.Expired : EnrolOutcome.Done;
                used = isNew && outcome == EnrolOutcome.Done ? known with { UsedAtSeconds = now, UsedBy = device, UsedByName = request.Name } : known;
                return ReferenceEquals(used, known) ? offers : [.. offers.Select(each => each == known ? used : each)];
            },
            cancel).ConfigureAwait(false);
        if (outcome != EnrolOutcome.Done)
        {
            return (outcome, []);
        }

        DeviceCertificate certificate = DeviceCertificate.Issue(
            keyring.Certificate, keyring.Device, request.DevicePublicKey.Span, request.AgreementPublicKey.Span, used.Device, used.UsedByName, used.UsedAtSeconds);
        var answer = new EnrolmentAnswer // its secrets stay the keyring's
        {
            AccountPublicKey = keyring.AccountPublicKey.ToArray(),
            RecoveryPublicKey = keyring.RecoveryPublicKey.ToArray(),
            Tag = keyring.Tag,
            AnchorKey = keyring.AnchorKey,
            Certificate = certificate,
            Domains = [.. keyring.Domains.Where(static domain => domain.Kind != DomainKind.Burnable)],
            Holders = used.Holders,
        };
        return Enrolment.SealAnswer(used.Secret.Span, request, answer, random) is { } bytes ? (EnrolOutcome.Done, bytes) : (EnrolOutcome.Unknown, []);
    }
}
