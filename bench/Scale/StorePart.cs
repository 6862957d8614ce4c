using System.Buffers.Binary;
using System.Diagnostics;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace Scale;

/// <summary>A real store with one folder holder and blocks of 16 bytes, in arenas of the smallest size so that there are many.</summary>
/// <remarks>Keys come from a fixed seed, so that one process opens what another wrote; nonces do not.</remarks>
internal static class StorePart
{
    private const int FlushEvery = 500_000;
    private const int Writers = 2;

    /// <summary>Folder, memory of the index in MiB, blocks.</summary>
    internal static async Task FillAsync(string[] values)
    {
        long blocks = IndexPart.Number(values[2]);
        FolderHolder.Create(PosixDisk.Instance, values[0] + "/fragments", SystemRandom.Instance).Dispose();
        long begin = Stopwatch.GetTimestamp();
        BlockStore store = await OpenAsync(values, StoreAccess.Write);
        await using (store)
        {
            await WriteAsync(store, 0, blocks);
            IndexPart.Say("arenas", $"{store.Catalog.Arenas().Count:N0}");
        }

        IndexPart.Say("rate", $"{blocks / Stopwatch.GetElapsedTime(begin).TotalSeconds:N0}");
        IndexPart.Say("disk", $"{Machine.BytesIn(values[0]) / 1e6:N0}");
        IndexPart.Say("peak", $"{Machine.PeakMiB:N0}");
    }

    /// <summary>Folder, memory of the index in MiB, blocks; "warm": as they lie in the page cache; "read": as a reader.</summary>
    internal static async Task OpenAsync(string[] values)
    {
        long blocks = IndexPart.Number(values[2]);
        string how = values.Length > 3 ? values[3] : "";
        if (how != "warm")
        {
            Machine.Forget(values[0]);
        }

        long begin = Stopwatch.GetTimestamp();
        BlockStore store = await OpenAsync(values, how == "read" ? StoreAccess.Read : StoreAccess.Write);
        await using (store)
        {
            IBlockStore kept = store.OpenBlocks(store.Realm, 0);
            byte[] plain = new byte[16];
            Payload(plain, blocks / 2);
            Score first = Clump.ScoreOf(store.DomainOf(store.Realm), BlockType.Data, plain);
            byte[] target = new byte[16];
            if (!(await kept.ReadAsync(first, BlockType.Data, target, CancellationToken.None)).IsFound || !target.AsSpan().SequenceEqual(plain))
            {
                throw new InvalidOperationException("a block that was written is not there");
            }

            IndexPart.Say("open", $"{Stopwatch.GetElapsedTime(begin).TotalSeconds:N2}");
            if (how.Length > 0)
            {
                return;
            }

            KeyDomain domain = store.DomainOf(store.Realm);
            IndexPart.Say("known", $"{IndexPart.Rate(1, random => Ask(store, domain, random.NextInt64(blocks), true)):N0}");
            IndexPart.Say("unknown", $"{IndexPart.Rate(1, random => Ask(store, domain, random.NextInt64() | (1L << 62), false)):N0}");
            IndexPart.Say("peak", $"{Machine.PeakMiB:N0}");
        }
    }

    /// <summary>Folder, memory of the index in MiB, blocks there, blocks to write before the end.</summary>
    internal static async Task DieAsync(string[] values)
    {
        (long blocks, long more) = (IndexPart.Number(values[2]), IndexPart.Number(values[3]));
        BlockStore store = await OpenAsync(values, StoreAccess.Write);
        await WriteAsync(store, blocks, more, mayFlush: false);
        IndexPart.Say("written", $"{more:N0}");
        Machine.Die();
    }

    /// <summary>Folder, memory of the index in MiB.</summary>
    internal static async Task ReindexAsync(string[] values)
    {
        BlockStore store = await OpenAsync(values, StoreAccess.Write);
        await using (store)
        {
            long begin = Stopwatch.GetTimestamp();
            await store.ReindexAsync(null, CancellationToken.None);
            double seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
            IndexPart.Say("rate", $"{store.Index!.Count / seconds:N0}");
            IndexPart.Say("seconds", $"{seconds:N1}");
            IndexPart.Say("peak", $"{Machine.PeakMiB:N0}");
        }
    }

    private static async Task WriteAsync(BlockStore store, long first, long count, bool mayFlush = true)
    {
        IBlockStore kept = store.OpenBlocks(store.Realm, null);
        for (long done = 0; done < count; done += FlushEvery)
        {
            long from = first + done;
            long to = first + Math.Min(done + FlushEvery, count);
            await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(async () =>
            {
                byte[] plain = new byte[16];
                for (long i = from + writer; i < to; i += Writers)
                {
                    Payload(plain, i);
                    _ = await kept.WriteAsync(BlockType.Data, plain, CancellationToken.None);
                }
            })));
            if (mayFlush)
            {
                await kept.FlushAsync(CancellationToken.None);
            }
        }
    }

    private static void Ask(BlockStore store, KeyDomain domain, long number, bool isKnown)
    {
        Span<byte> plain = stackalloc byte[16];
        Payload(plain, number);
        if (store.IsKnown(domain.Id, Clump.ScoreOf(domain, BlockType.Data, plain), 0) != isKnown)
        {
            throw new InvalidOperationException($"block {number} is {(isKnown ? "not known" : "known")}");
        }
    }

    private static void Payload(Span<byte> plain, long number)
    {
        ulong word = IndexPart.Mix((ulong)number);
        BinaryPrimitives.WriteUInt64LittleEndian(plain, word);
        BinaryPrimitives.WriteUInt64LittleEndian(plain[8..], IndexPart.Mix(word));
    }

    private static async Task<BlockStore> OpenAsync(string[] values, StoreAccess access)
    {
        var seeded = new Seeded();
        byte[] entropy = new byte[Words.EntropySize];
        seeded.Fill(entropy);
        AccountKeys account = AccountKeys.FromEntropy(entropy);
        Keyring keyring = Keyring.Create(account, 1, "bench", 1_700_000_000, seeded);
        keyring.Add(KeyDomain.Create(DomainKind.Realm, seeded));
        var keys = new StoreKeys
        {
            Device = keyring.DeviceNumber,
            DeviceKeys = keyring.Device,
            Certificate = keyring.Certificate,
            Realm = keyring.Domains[0],
            Domains = [.. keyring.Domains],
            Tag = keyring.Tag,
            AnchorKey = keyring.AnchorKey,
            AccountPublicKey = keyring.AccountPublicKey.ToArray(),
            RecoveryPublicKey = keyring.RecoveryPublicKey.ToArray(),
        };
        string holder = values[0] + "/fragments";
        return await BlockStore.OpenAsync(
            PosixDisk.Instance,
            new StoreOptions { StateFolder = values[0], ArenaBytes = ArenaLayout.NominalSizes[0], SealingCount = 4, OpenLookup = () => IndexSnapshot.TryOpen(PosixDisk.Instance, values[0] + "/index", IndexPart.Number(values[1]) << 20) },
            keys,
            [new ConfiguredHolder("here", holder, FolderHolder.Open(PosixDisk.Instance, holder, SystemRandom.Instance), null)],
            () => IndexPart.Open(values[0] + "/index", IndexPart.Number(values[1]) << 20),
            TimeProvider.System,
            SystemRandom.Instance,
            access,
            "bench",
            line => Console.Error.WriteLine(line),
            CancellationToken.None);
    }

    /// <summary>The same keys in every process.</summary>
    private sealed class Seeded : IRandomSource
    {
        private readonly Random _random = new(1);

        public void Fill(Span<byte> target) => _random.NextBytes(target);
    }
}
