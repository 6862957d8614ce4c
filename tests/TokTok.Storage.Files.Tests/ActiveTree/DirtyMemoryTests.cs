namespace TokTok.Storage.Files.Tests;

/// <summary>What a tree keeps beside what it uses.</summary>
public sealed class DirtyMemoryTests
{
    private const int MaxBytes = 1 << 20;

    [Fact]
    public void What_is_kept_and_what_is_in_use_are_within_the_bound_together()
    {
        var memory = new DirtyMemory(MaxBytes);
        List<DirtyBuffer> small = [.. Enumerable.Range(0, 200).Select(_ => memory.Rent(4096))];
        Assert.Equal(0, memory.SpareBytes);
        small.ForEach(static buffer => buffer.Release());
        Assert.Equal(200 * 4096, memory.SpareBytes);
        Assert.Equal(0, memory.Bytes);

        DirtyBuffer large = memory.Rent(MaxBytes / 2);
        Assert.InRange(memory.SpareBytes, MaxBytes / 4, MaxBytes - memory.Bytes);
        DirtyBuffer[] more = [.. Enumerable.Range(0, 300).Select(_ => memory.Rent(4096))]; // over the bound: writers wait for a commit then
        Assert.Equal(0, memory.SpareBytes);
        Array.ForEach(more, static buffer => buffer.Release());
        Assert.InRange(memory.SpareBytes, MaxBytes / 4, MaxBytes - memory.Bytes);
        large.Release();
        Assert.Equal(memory.SpareBytes, memory.Trim());
        Assert.Equal(0, memory.SpareBytes + memory.Bytes);
    }

    [Fact]
    public void A_heap_is_looked_through_when_it_has_grown_since_it_last_was()
    {
        const long Left = 100L << 20;
        var watch = new HeapWatch();
        Assert.False(watch.IsMuch(3, Left)); // the first look tells what there is
        Assert.False(watch.IsMuch(3, Left + HeapWatch.MostGrowthBytes));
        Assert.True(watch.IsMuch(3, Left + HeapWatch.MostGrowthBytes + 1));
        Assert.False(watch.IsMuch(4, Left + HeapWatch.MostGrowthBytes)); // that much is in use
        Assert.False(watch.IsMuch(4, Left + (2 * HeapWatch.MostGrowthBytes)));
        Assert.True(watch.IsMuch(4, Left + (2 * HeapWatch.MostGrowthBytes) + 1));
        Assert.False(watch.IsMuch(5, 10 * Left)); // of a large heap an eighth
        Assert.False(watch.IsMuch(5, 11 * Left));
        Assert.True(watch.IsMuch(5, 12 * Left));
    }
}
