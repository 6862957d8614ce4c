using TokTok.Storage.Core.Tests.Hashing;

namespace TokTok.Storage.Core.Tests;

public sealed class HeadTests
{
    [Fact]
    public void A_later_head_of_a_line_supersedes_the_earlier_ones_and_no_other_lines()
    {
        Head head = Sample();
        Assert.True((head with { Sequence = 6 }).Supersedes(head));
        Assert.False(head.Supersedes(head));
        Assert.False((head with { Sequence = 4 }).Supersedes(head));
        Assert.False((head with { Sequence = 6, Device = 9 }).Supersedes(head));
        Assert.False((head with { Sequence = 6, Incarnation = 9 }).Supersedes(head));
        Assert.False((head with { Sequence = 6, Volume = new VolumeId(new Bytes16(0, 9)) }).Supersedes(head));
        Assert.Throws<ArgumentNullException>(() => head.Supersedes(null!));
    }

    [Fact]
    public void A_head_supersedes_the_heads_of_other_lines_up_to_the_one_it_has_seen()
    {
        Head head = Sample(), other = head with { Device = 2, Seen = [new HeadSeen(7, 7, 7), new HeadSeen(head.Device, head.Incarnation, 5)] };
        Assert.True(other.Supersedes(head));
        Assert.True(other.Supersedes(head with { Sequence = 4 }));
        Assert.False(other.Supersedes(head with { Sequence = 6 }));
        Assert.False(other.Supersedes(head with { Device = 9 }));
        Assert.False(other.Supersedes(head with { Incarnation = 9 }));
        Assert.False(other.Supersedes(head with { Volume = new VolumeId(new Bytes16(0, 9)) }));
    }

    [Fact]
    public void What_goes_on_from_heads_has_seen_them_and_all_they_saw_once_a_line_in_order()
    {
        Head one = Sample() with { Device = 2, Incarnation = 20, Sequence = 5, Seen = [new HeadSeen(1, 10, 3), new HeadSeen(3, 30, 8), new HeadSeen(3, 31, 1)] };
        Head other = Sample() with { Device = 3, Incarnation = 30, Sequence = 7, Seen = [new HeadSeen(1, 10, 2), new HeadSeen(1, 11, 4), new HeadSeen(2, 20, 4)] };
        Assert.Equal(
            [new HeadSeen(1, 11, 4), new HeadSeen(2, 20, 5), new HeadSeen(3, 30, 8), new HeadSeen(3, 31, 1)],
            Head.SeenAfter([one, other], device: 1, incarnation: 10));
        Assert.Equal(
            [new HeadSeen(1, 10, 3), new HeadSeen(1, 11, 4), new HeadSeen(2, 20, 5), new HeadSeen(3, 30, 8)],
            Head.SeenAfter([other, one], device: 3, incarnation: 31));
        Assert.Empty(Head.SeenAfter([], 1, 1));
        Assert.Throws<ArgumentNullException>(() => Head.SeenAfter(null!, 1, 1));
    }

    [Fact]
    public void Of_too_many_lines_the_ones_that_are_furthest_stay()
    {
        Head[] heads = [.. Enumerable.Range(0, 200).Select(i => Sample() with { Device = (uint)i, Sequence = (ulong)(i * 37 % 200) })];
        IReadOnlyList<HeadSeen> seen = Head.SeenAfter(heads, 1000, 1);
        Assert.Equal(Head.MaxSeenCount, seen.Count);
        Assert.All(seen, line => Assert.True(line.Sequence >= 200 - Head.MaxSeenCount));
        Assert.Equal(seen.OrderBy(line => line.Device), seen);
    }

    [Fact]
    public void Heads_are_equal_when_every_field_and_what_they_saw_is()
    {
        Head head = Sample();
        Head equal = Sample();
        Assert.Equal(head, equal);
        Assert.Equal(head.GetHashCode(), equal.GetHashCode());
        Assert.False(head.Equals(null));
        foreach (Head other in (Head[])[
            head with { Volume = new VolumeId(new Bytes16(0, 9)) },
            head with { VolumeName = "other" },
            head with { Domain = new DomainId(new Bytes16(0, 9)) },
            head with { Device = 9 },
            head with { Incarnation = 9 },
            head with { Sequence = 9 },
            head with { Previous = default },
            head with { TimeNs = 9 },
            head with { Root = new Score(new Bytes32(0, 9, 0, 9)) },
            head with { Seen = [] },
            head with { Seen = [new HeadSeen(8, 8, 9)] }])
        {
            Assert.NotEqual(head, other);
        }

        // A hash that no field reaches would make one bucket of all heads.
        Assert.NotEqual(head.GetHashCode(), (head with { Sequence = 9 }).GetHashCode());
    }

    [Fact]
    public void Thirty_two_bytes_are_written_as_they_were_read()
    {
        byte[] bytes = Blake3Tests.Input(UInt256.Size), back = new byte[UInt256.Size];
        UInt256.Read(bytes).Write(back);
        Assert.Equal(bytes, back);
    }

    private static Head Sample() => new()
    {
        Volume = new VolumeId(new Bytes16(0, 1)),
        VolumeName = "photos",
        Domain = new DomainId(new Bytes16(0, 2)),
        Device = 3,
        Incarnation = 4,
        Sequence = 5,
        Previous = UInt256.Read(Blake3Tests.Input(32)),
        TimeNs = 6,
        Root = new Score(new Bytes32(0, 7, 0, 7)),
        Seen = [new HeadSeen(8, 8, 8)],
    };
}
