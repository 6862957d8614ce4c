using TokTok.Storage.Testing;

namespace TokTok.Storage.WebDav.Tests;

public sealed class DavLocksTests
{
    private readonly ManualClock _clock = new();

    private int _next;

    private DavLock Wanted(string key, bool isShared = false, bool isDeep = false) => new()
    {
        Token = $"t{_next++}", Key = key, RootHref = key, IsShared = isShared, IsDeep = isDeep, Timeout = TimeSpan.FromSeconds(60), Expires = _clock.GetUtcNow() + TimeSpan.FromSeconds(60),
    };

    [Theory]
    [InlineData(false, false, "/a", "/a", true)]
    [InlineData(true, false, "/a", "/a", true)]
    [InlineData(true, true, "/a", "/a", false)]
    [InlineData(false, false, "/a", "/ab", false)]
    [InlineData(false, false, "/a", "/a/b", false)] // a lock of depth 0 is on the directory's names alone
    public void Locks_on_one_place_stand_in_each_others_way_unless_both_are_shared(bool isFirstShared, bool isSecondShared, string first, string second, bool conflicts)
    {
        var locks = new DavLocks(_clock, 10);
        Assert.Null(locks.TryAdd(Wanted(first, isFirstShared)));
        Assert.Equal(conflicts, locks.TryAdd(Wanted(second, isSecondShared)) is not null);
    }

    [Fact]
    public void A_deep_lock_covers_what_is_below_and_finds_what_is_locked_there()
    {
        var locks = new DavLocks(_clock, 10);
        Assert.Null(locks.TryAdd(Wanted("/a/b")));
        Assert.NotNull(locks.TryAdd(Wanted("", isDeep: true)));
        Assert.NotNull(locks.TryAdd(Wanted("/a", isDeep: true)));
        Assert.Null(locks.TryAdd(Wanted("/c", isDeep: true)));
        Assert.NotNull(locks.TryAdd(Wanted("/c/d/e", isShared: true)));
        Assert.Single(locks.Covering("/c/d/e/f"));
        Assert.Empty(locks.Covering("/cd"));
        Assert.Single(locks.Below("/a"));
        Assert.Equal(2, locks.Below("").Count);
    }

    [Fact]
    public void A_lock_expires_unless_it_is_refreshed()
    {
        var locks = new DavLocks(_clock, 10);
        DavLock first = Wanted("/a");
        DavLock second = Wanted("/b");
        Assert.Null(locks.TryAdd(first));
        Assert.Null(locks.TryAdd(second));
        _clock.Advance(TimeSpan.FromSeconds(59));
        Assert.NotNull(locks.TryRefresh(first.Token, "/a", TimeSpan.FromSeconds(60)));
        Assert.Null(locks.TryRefresh(first.Token, "/b", TimeSpan.FromSeconds(60)));
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Empty(locks.Covering("/b"));
        Assert.Single(locks.Covering("/a"));
        Assert.False(locks.TryRemove(second.Token, "/b"));
        _clock.Advance(TimeSpan.FromSeconds(59));
        Assert.Equal(0, locks.Count);
    }

    [Fact]
    public void A_tree_that_goes_takes_its_locks_along()
    {
        var locks = new DavLocks(_clock, 10);
        Assert.All(["/a", "/a/b", "/ab"], key => Assert.Null(locks.TryAdd(Wanted(key))));
        locks.RemoveTree("/a", keepsTop: true);
        Assert.Equal(2, locks.Count);
        locks.RemoveTree("/a");
        Assert.Single(locks.Covering("/ab"));
        Assert.Equal(1, locks.Count);
    }

    [Fact]
    public void There_are_no_more_locks_than_the_bound()
    {
        var locks = new DavLocks(_clock, 2);
        Assert.Null(locks.TryAdd(Wanted("/a")));
        Assert.Null(locks.TryAdd(Wanted("/b")));
        Assert.Equal(503, Assert.Throws<DavException>(() => locks.TryAdd(Wanted("/c"))).Status);
        _clock.Advance(TimeSpan.FromSeconds(60));
        Assert.Null(locks.TryAdd(Wanted("/c")));
    }
}
