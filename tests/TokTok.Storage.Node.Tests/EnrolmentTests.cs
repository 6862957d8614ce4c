using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>A code enrols one device once: what is said on the way, and what the desk remembers.</summary>
public sealed class EnrolmentTests
{
    private const string State = "/state";

    private readonly SeededRandom _random = new(1);
    private readonly SimulatedDisk _disk = new();
    private readonly ManualClock _clock = new();
    private readonly Keyring _first;
    private readonly byte[] _secret;

    public EnrolmentTests()
    {
        _disk.CreateDirectory(State);
        _secret = _random.Bytes(InvitationCode.SecretSize);
        using AccountKeys account = AccountKeys.FromEntropy(_random.Bytes(32));
        _first = Keyring.Create(account, 1, "laptop", 0, _random);
        _first.Add(KeyDomain.Create(DomainKind.Realm, _random));
        _first.Add(KeyDomain.Create(DomainKind.Burnable, _random));
    }

    private EnrolmentFile File => new(_disk, State, _first.CacheKey, _random, _clock);

    private async Task<EnrolDesk> OfferAsync(TimeSpan validFor)
    {
        long now = _clock.GetUtcNow().ToUnixTimeSeconds();
        var holder = new EnrolmentHolder(HolderId.New(_random), "blue", "/mnt/blue");
        await File.ChangeAsync(
            offers => EnrolmentFile.With(offers, new EnrolmentOffer { Secret = _secret, Device = 2, MadeAtSeconds = now, ExpiresAtSeconds = now + (long)validFor.TotalSeconds, Holders = [holder] }, now),
            CancellationToken.None);
        var desk = new EnrolDesk(File, _first, _random, _clock, null);
        desk.Refresh();
        return desk;
    }

    private async Task<(EnrolOutcome Outcome, byte[] Answer)> AskAsync(EnrolDesk desk, DeviceKeys device, byte[]? secret = null) =>
        await desk.AnswerAsync(Enrolment.IdOf(secret ?? _secret), Enrolment.SealRequest(secret ?? _secret, device, "desk", _random), CancellationToken.None);

    [Fact]
    public async Task Who_has_the_code_is_enrolled_with_all_keys_but_those_that_can_be_burned()
    {
        EnrolDesk desk = await OfferAsync(TimeSpan.FromHours(1));
        using DeviceKeys device = DeviceKeys.Create(_random);
        (EnrolOutcome outcome, byte[] bytes) = await AskAsync(desk, device);
        Assert.Equal(EnrolOutcome.Done, outcome);
        using EnrolmentAnswer answer = Enrolment.TryOpenAnswer(_secret, device, bytes)!;
        Assert.True(answer.Certificate.IsSignedBy(_first.AccountPublicKey));
        Assert.Equal((2u, "desk", 1u), (answer.Certificate.DeviceNumber, answer.Certificate.DeviceName, answer.Certificate.Issuer!.DeviceNumber));
        Assert.Equal(DomainKind.Realm, Assert.Single(answer.Domains).Kind);
        Assert.Equal("/mnt/blue", Assert.Single(answer.Holders).Address);
        Assert.Equal(_first.AnchorKey.Span, answer.AnchorKey.Span);
        Assert.Equal("desk", Assert.Single(File.Read()).UsedByName);

        // Nobody else opens it, the code known or not.
        using DeviceKeys eve = DeviceKeys.Create(_random);
        Assert.Null(Enrolment.TryOpenAnswer(_secret, eve, bytes));
        Assert.Null(Enrolment.TryOpenAnswer(_random.Bytes(10), device, bytes));
    }

    [Fact]
    public async Task A_code_serves_one_device_and_that_one_again_should_its_answer_be_lost()
    {
        EnrolDesk desk = await OfferAsync(TimeSpan.FromHours(1));
        using DeviceKeys device = DeviceKeys.Create(_random), other = DeviceKeys.Create(_random);
        (_, byte[] first) = await AskAsync(desk, device);
        _clock.Advance(TimeSpan.FromHours(2));
        (EnrolOutcome outcome, byte[] again) = await AskAsync(desk, device);
        Assert.Equal(EnrolOutcome.Done, outcome);
        using EnrolmentAnswer one = Enrolment.TryOpenAnswer(_secret, device, first)!, two = Enrolment.TryOpenAnswer(_secret, device, again)!;
        Assert.Equal(one.Certificate.Bytes, two.Certificate.Bytes);
        Assert.Equal(EnrolOutcome.Used, (await AskAsync(desk, other)).Outcome);
    }

    [Fact]
    public async Task After_its_time_a_code_serves_nobody_and_a_wrong_one_is_unknown()
    {
        EnrolDesk desk = await OfferAsync(TimeSpan.FromMinutes(1));
        using DeviceKeys device = DeviceKeys.Create(_random);
        Assert.Equal(EnrolOutcome.Unknown, (await AskAsync(desk, device, _random.Bytes(10))).Outcome);
        Assert.Equal(EnrolOutcome.Unknown, (await desk.AnswerAsync(Enrolment.IdOf(_secret), Enrolment.SealRequest(_random.Bytes(10), device, "desk", _random), CancellationToken.None)).Outcome);
        _clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(EnrolOutcome.Expired, (await AskAsync(desk, device)).Outcome);
        Assert.Equal(0, Assert.Single(File.Read()).UsedAtSeconds);
    }

    [Fact]
    public async Task Hostile_messages_and_files_are_refused()
    {
        EnrolDesk desk = await OfferAsync(TimeSpan.FromHours(1));
        using DeviceKeys device = DeviceKeys.Create(_random);
        byte[] request = Enrolment.SealRequest(_secret, device, "desk", _random);
        (_, byte[] answer) = await AskAsync(desk, device);
        for (int i = 0; i < request.Length; i++)
        {
            byte[] damaged = [.. request];
            damaged[i] ^= 1;
            Assert.False(Enrolment.TryOpenRequest(_secret, damaged, out _), $"offset {i}");
            Assert.False(Enrolment.TryOpenRequest(_secret, request.AsSpan(0, i), out _), $"length {i}");
        }

        for (int i = 0; i < answer.Length; i += 7)
        {
            byte[] damaged = [.. answer];
            damaged[i] ^= 1;
            Assert.Null(Enrolment.TryOpenAnswer(_secret, device, damaged));
            Assert.Null(Enrolment.TryOpenAnswer(_secret, device, answer.AsSpan(0, i)));
        }

        using IDiskFile file = _disk.Open(State + "/" + EnrolmentFile.Name, DiskOpen.ReadWrite);
        file.Write(20, [1, 2, 3]);
        Assert.Throws<DamagedFormatException>(() => File.Read());
        desk.Refresh();
        Assert.Equal(EnrolOutcome.Unknown, (await AskAsync(desk, device)).Outcome);
    }

    [Fact]
    public void A_code_for_a_device_is_none_for_a_peer_and_the_other_way_round()
    {
        var device = new InvitationCode { Secret = _secret, Fingerprint = new byte[16], Addresses = [], IsForDevice = true };
        Assert.True(InvitationCode.TryParse(device.ToString(), isForDevice: true, out InvitationCode? read, out string? error), error);
        Assert.Empty(read.Addresses);
        Assert.False(InvitationCode.TryParse(device.ToString(), out _, out error));
        Assert.Contains("tdfs device join", error, StringComparison.Ordinal);
        var peer = new InvitationCode { Secret = _secret, Fingerprint = new byte[16], Addresses = [new NodeAddress("127.0.0.1", 1)] };
        Assert.False(InvitationCode.TryParse(peer.ToString(), isForDevice: true, out _, out error));
        Assert.Contains("tdfs peer accept", error, StringComparison.Ordinal);
    }
}
