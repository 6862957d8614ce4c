using System.Text;

namespace TokTok.Storage.Files.Tests;

public sealed class ActiveTreeListingTests
{
    /// <summary>Takes so many names at a time.</summary>
    private sealed class Page(int room) : IDirectorySink
    {
        internal List<(string Name, ulong Id, ulong Cookie)> Taken { get; } = [];

        public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
        {
            if (Taken.Count == room)
            {
                return false;
            }

            Taken.Add((Encoding.UTF8.GetString(name), attributes.FileId, cookie));
            return true;
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_name_that_stays_is_listed_once_while_others_come_and_go(bool isCommitted)
    {
        using var volume = new VolumeTree();
        const int Count = 3000; // several levels of blocks
        for (int at = 0; at < Count; at++)
        {
            volume.Create($"name {at:d5}", 0x1a4, true);
        }

        if (isCommitted)
        {
            volume.Tree.SyncAll();
        }

        ActiveTree tree = volume.Tree;
        Assert.Equal(FileError.None, tree.OpenDirectory(tree.RootId, out ulong handle));
        var seen = new List<string>();
        var random = new Random(4);
        ulong cookie = 0;
        int next = 0;
        while (true)
        {
            var page = new Page(random.Next(1, 90));
            Assert.Equal(FileError.None, tree.ReadDirectory(handle, cookie, withAttributes: random.Next(2) == 0, page));
            foreach ((string name, ulong id, ulong _) in page.Taken)
            {
                seen.Add(name);
                tree.Forget(id, 1); // too much for a page without attributes, and no harm
            }

            if (page.Taken.Count == 0)
            {
                break;
            }

            cookie = page.Taken[^1].Cookie;

            // Names before and behind go, others come, commits move everything.
            for (int each = 0; each < 20; each++)
            {
                volume.Unlink($"name {(next++ * 7919 % Count) | 1:d5}");
                volume.Create($"name {random.Next(Count):d5} new", 0x1a4, false);
            }

            if (random.Next(4) == 0)
            {
                tree.SyncAll();
            }
        }

        Assert.Equal(FileError.None, tree.Release(handle));
        Assert.Equal(seen.Count, seen.Distinct().Count());
        Assert.Equal([".", ".."], seen.Take(2));
        Assert.All(Enumerable.Range(0, Count / 2), at => Assert.Contains($"name {2 * at:d5}", seen.ToHashSet()));
    }

    [Fact]
    public void A_cookie_leads_back_to_its_place_and_a_listing_from_the_start_sees_what_is_new()
    {
        using var volume = new VolumeTree();
        for (int at = 0; at < 500; at++)
        {
            volume.Create($"{at:d3}", 0x1a4, true);
        }

        ActiveTree tree = volume.Tree;
        tree.SyncAll();
        volume.Create("zzz", 0x1a4, true);
        tree.OpenDirectory(tree.RootId, out ulong handle);
        var all = new Page(int.MaxValue);
        tree.ReadDirectory(handle, 0, false, all);
        Assert.Equal(503, all.Taken.Count);
        volume.Unlink("250");
        volume.Create("aaa", 0x1a4, true);
        var random = new Random(9);
        for (int round = 0; round < 50; round++)
        {
            int from = random.Next(all.Taken.Count - 1);
            var page = new Page(1);
            tree.ReadDirectory(handle, all.Taken[from].Cookie, false, page);
            string expected = all.Taken[from + 1].Name is "250" ? all.Taken[from + 2].Name : all.Taken[from + 1].Name;
            Assert.Equal(expected, Assert.Single(page.Taken).Name);
        }

        var again = new Page(int.MaxValue);
        tree.ReadDirectory(handle, 0, false, again);
        Assert.Contains("aaa", again.Taken.Select(static taken => taken.Name));
        Assert.DoesNotContain("250", again.Taken.Select(static taken => taken.Name));
        tree.Release(handle);
    }

    [Fact]
    public void A_listing_with_attributes_counts_each_name_as_looked_up()
    {
        using var volume = new VolumeTree();
        for (int at = 0; at < 20; at++)
        {
            volume.Create($"{at}", 0x1a4, true);
        }

        ActiveTree tree = volume.Tree;
        tree.SyncAll();
        tree.OpenDirectory(tree.RootId, out ulong handle);
        var page = new Page(12);
        tree.ReadDirectory(handle, 0, true, page);
        Assert.Equal(1 + 10, tree.InodeCount);
        foreach ((string name, ulong id, ulong _) in page.Taken.Skip(2))
        {
            Assert.Equal(FileError.None, tree.GetAttributes(id, out _));
            tree.Forget(id, 1);
            Assert.Equal(FileError.ESTALE, tree.GetAttributes(id, out _));
        }

        tree.Release(handle);
        Assert.Equal(1, tree.InodeCount);
    }
}
