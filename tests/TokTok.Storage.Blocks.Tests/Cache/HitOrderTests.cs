using TokTok.Storage.Blocks.Cache;

namespace TokTok.Storage.Blocks.Tests.Cache;

public sealed class HitOrderTests
{
    [Fact]
    public void What_is_used_again_and_again_outlives_a_scan_of_a_hundred_times_the_room()
    {
        HitOrder order = new(100);
        for (int round = 0; round < 5; round++)
        {
            Touch(order, Enumerable.Range(0, 80));
        }

        Touch(order, Enumerable.Range(1000, 10_000));
        Assert.InRange(Enumerable.Range(0, 80).Count(key => order.PlaceOf((ulong)key) >= 0), 70, 80);
        Assert.Equal(100, order.Count);
    }

    [Fact]
    public void Favourites_of_long_ago_make_room_for_those_of_now()
    {
        HitOrder order = new(100);
        for (int round = 0; round < 20; round++)
        {
            Touch(order, Enumerable.Range(0, 90));
        }

        for (int round = 0; round < 40; round++)
        {
            Touch(order, Enumerable.Range(500, 90));
        }

        Assert.InRange(Enumerable.Range(500, 90).Count(key => order.PlaceOf((ulong)key) >= 0), 80, 90);
    }

    /// <summary>Against the plainest statement of what an order is: a set of at most so many, each with a place of its own.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    [InlineData(64)]
    public void Whatever_is_done_each_kept_thing_has_a_place_of_its_own(int room)
    {
        Random random = new(room);
        HitOrder order = new(room);
        HashSet<ulong> kept = [];
        for (int step = 0; step < 20_000; step++)
        {
            ulong key = (ulong)(random.Next(room * 4) * random.NextDouble());
            switch (random.Next(20))
            {
                case 0:
                    Assert.Equal(kept.Remove(key), order.Remove(key));
                    break;
                case 1:
                    ulong? shed = order.Shed();
                    Assert.Equal(kept.Count > 0, shed is not null);
                    Assert.True(shed is null || kept.Remove(shed.Value));
                    break;
                default:
                    Assert.Equal(kept.Contains(key), order.Use(key));
                    if (kept.Add(key))
                    {
                        ulong? gone = order.Add(key);
                        Assert.Equal(kept.Count > room, gone is not null);
                        Assert.True(gone is null || kept.Remove(gone.Value));
                    }

                    break;
            }

            Assert.Equal(kept.Count, order.Count);
        }

        int[] places = [.. kept.Select(order.PlaceOf)];
        Assert.All(places, place => Assert.InRange(place, 0, room));
        Assert.Equal(places.Length, places.Distinct().Count());
        Assert.Equal(kept.Order(), order.InOrder().Select(each => each.Key).Order());
    }

    [Fact]
    public void An_order_that_is_taken_up_again_gives_up_the_same_things_first()
    {
        HitOrder order = new(50);
        Touch(order, Enumerable.Range(0, 50));
        Touch(order, Enumerable.Range(0, 20));
        HitOrder again = new(50);
        again.Restore(order.InOrder());
        order.Counts.Bytes.CopyTo(again.Counts.Bytes);
        Assert.Equal(order.InOrder().Select(each => (each.Key, each.Place)).Order(), again.InOrder().Select(each => (each.Key, each.Place)).Order());
        Assert.All(Enumerable.Range(0, 20), key => Assert.Equal(order.Counts.Of((ulong)key), again.Counts.Of((ulong)key)));
        for (int at = 0; at < 25; at++)
        {
            Assert.True(again.Shed() >= 20);
        }

        // A smaller one takes what fits, and places that are not its own are not taken.
        HitOrder smaller = new(10);
        smaller.Restore(order.InOrder());
        Assert.InRange(smaller.Count, 1, 10);
        Touch(smaller, Enumerable.Range(100, 30));
        Assert.Equal(10, smaller.Count);
    }

    [Fact]
    public void Counts_are_never_too_low_until_they_are_halved_and_are_halved_in_time()
    {
        UseCounts counts = new(1000);
        for (int use = 0; use < 9; use++)
        {
            for (ulong key = 0; key < 1000; key++)
            {
                counts.Count(key);
            }
        }

        Assert.All(Enumerable.Range(0, 1000), key => Assert.InRange(counts.Of((ulong)key), 9, UseCounts.Most));
        Assert.InRange(Enumerable.Range(5000, 1000).Count(key => counts.Of((ulong)key) == 0), 700, 1000);
        for (int more = 0; more < 2000; more++)
        {
            counts.Count((ulong)(10_000 + more));
        }

        Assert.InRange(Enumerable.Range(0, 1000).Average(key => counts.Of((ulong)key)), 4, 6.5);
    }

    private static void Touch(HitOrder order, IEnumerable<int> keys)
    {
        foreach (int key in keys)
        {
            if (!order.Use((ulong)key))
            {
                _ = order.Add((ulong)key);
            }
        }
    }
}
