using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

public sealed class DeviceStatementTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 1));

    private readonly AccountKeys _account = AccountKeysTests.ExampleAccount();
    private readonly DeviceKeys _device = DeviceKeys.Create(new CountingRandom());

    private DeviceStatement Say(uint signer, uint device, DeviceState state, long time = 0) =>
        DeviceStatement.Issue(DeviceCertificate.Issue(_account, _device, signer, "x", 0), _device, device, state, time, []);

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        DeviceCertificate signer = AccountKeysTests.ExampleCertificate(_account, _device);
        DeviceStatement statement = DeviceStatement.Issue(signer, _device, 2, DeviceState.Revoked, 1_795_000_000, [new HeadCut(s_volume, 0x0807060504030201, 7)]);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("10.1")), Repository.HexLines(statement.Bytes));
        DeviceStatement again = DeviceStatement.Read(statement.Bytes);
        Assert.Equal((2u, DeviceState.Revoked, 1u, 1u), (again.Device, again.State, again.Adopter, again.Signer));
        Assert.True(again.IsSignedBy(signer));
    }

    [Fact]
    public void No_flip_or_cut_of_a_statement_verifies()
    {
        DeviceCertificate signer = AccountKeysTests.ExampleCertificate(_account, _device);
        byte[] bytes = Repository.FormatExample("10.1");
        for (int i = 0; i < bytes.Length; i++)
        {
            byte[] damaged = [.. bytes];
            damaged[i] ^= 1;
            Assert.False(Verifies(damaged), $"offset {i}");
            Assert.False(Verifies(bytes[..i]), $"length {i}");
        }

        Assert.True(Verifies(bytes));
        HostileBytes.AssertHandled(5, bytes, static hostile => DeviceStatement.Read(hostile));

        bool Verifies(byte[] candidate)
        {
            try
            {
                return DeviceStatement.Read(candidate).IsSignedBy(signer);
            }
            catch (DamagedFormatException)
            {
                return false;
            }
        }
    }

    [Fact]
    public void Heads_of_a_revoked_device_count_up_to_where_it_was_revoked_and_of_a_retired_one_all_do()
    {
        DeviceCertificate signer = AccountKeysTests.ExampleCertificate(_account, _device);
        DeviceStatement revoked = DeviceStatement.Issue(signer, _device, 2, DeviceState.Revoked, 0, [new HeadCut(s_volume, 5, 7)]);
        var head = new Head { Volume = s_volume, VolumeName = "v", Domain = default, Device = 2, Incarnation = 5, Sequence = 7, Previous = default, TimeNs = 0, Root = default, Seen = [] };
        Assert.True(revoked.Covers(head));
        Assert.False(revoked.Covers(head with { Sequence = 8 }));
        Assert.False(revoked.Covers(head with { Incarnation = 6 }));
        Assert.False(revoked.Covers(head with { Volume = default }));
        Assert.True(Say(1, 2, DeviceState.Retired).Covers(head with { Sequence = 8 }));
    }

    [Fact]
    public void What_a_revoked_device_says_counts_no_more_and_of_two_the_one_that_was_there_first_is_heard()
    {
        DeviceStatement one = Say(1, 2, DeviceState.Revoked), other = Say(2, 1, DeviceState.Revoked);
        foreach (DeviceStatement[] order in (DeviceStatement[][])[[one, other], [other, one]])
        {
            Assert.Equal(2u, Assert.Single(DeviceStatement.InForce(order)).Key);
        }

        Assert.Equal(DeviceState.Revoked, DeviceStatement.InForce([Say(1, 3, DeviceState.Retired), Say(2, 3, DeviceState.Revoked)])[3].State);
        Assert.Empty(DeviceStatement.InForce([Say(1, 1, DeviceState.Revoked)]));
    }
}
