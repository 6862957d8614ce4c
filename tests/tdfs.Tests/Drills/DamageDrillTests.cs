using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A store of many arenas whose fragments are lost, cut, flipped, swapped and overwritten, up to what its class mends and beyond.</summary>
/// <remarks>
/// Where fragments lie is read from the files by docs/format.md 7 (<see cref="FragmentPage"/>). Arenas stay small because each import adds a few MiB, of which
/// a flush seals pieces of 1 MiB. The stores are made once and copied for each test.
/// </remarks>
public sealed partial class DamageDrillTests(DamageDrillTests.Stores stores) : IClassFixture<DamageDrillTests.Stores>
{
    private const int ArenasUsual = 20;
    private const int ArenasLong = 200;

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    public Task Damage_within_the_parity_is_read_through_named_exactly_and_mended_group_by_group(int folders) => Drill.SeededAsync(40 + folders, async (random, steps) =>
    {
        using DrillStore store = await stores.CopyAsync(folders);
        SortedDictionary<string, List<FragmentSpot>> arenas = FragmentPage.Read(store.Holders);
        Assert.True(arenas.Count >= Drill.Count(ArenasUsual, ArenasLong), $"{arenas.Count} arenas");
        Dictionary<string, FileTrace> before = Trace(store);
        List<Damage> damages = DamageUpTo(folders == 1 ? 1 : 3, arenas, random, steps);

        (List<(string, int)> named, List<(string, int)> records) = await CheckAsync(store);
        Assert.Equal(Names(damages), named);
        HashSet<string> cut = [.. damages.Where(static damage => damage.HitsRecord).Select(static damage => damage.Spot.Arena)];
        Assert.All(records, record => Assert.Contains(record.Item1, cut));

        await store.AssertRestoresAsync("latest", stores.Source(folders));

        HashSet<string> touched = [.. damages.Select(static damage => damage.Spot.File)];
        JsonElement repaired = await store.JsonAsync("repair", "--no-progress");
        Assert.Equal(damages.Sum(static damage => damage.Groups.Sum(damage.Spot.GroupLength)), repaired.GetProperty("writtenBytes").GetInt64());
        Assert.Equal(damages.Count + records.Except(Names(damages)).Count(), repaired.GetProperty("repairedFragments").GetInt32());
        await store.AssertCleanAsync();
        Dictionary<string, FileTrace> after = Trace(store);
        Assert.Equal(before.Keys.Order(), after.Keys.Order());
        foreach ((string file, FileTrace was) in before)
        {
            Assert.True(was.Hash == after[file].Hash, $"{file} was mended into other bytes than it had");
            Assert.True(touched.Contains(file) || was == after[file], $"{file} had no damage and was written");
        }
    });

    [Fact]
    public Task One_fragment_too_many_takes_only_the_blocks_in_it_and_the_files_of_those() => Drill.SeededAsync(50, async (random, steps) =>
    {
        using DrillStore store = await stores.CopyAsync(1);
        (string arena, List<FragmentSpot> spots, int[] gone, HashSet<string> lost) = await ChooseAsync(store, random);
        steps.Add($"arena {arena} loses fragments {string.Join(", ", gone)}");
        foreach (int index in gone)
        {
            Overwrite(spots.Single(spot => spot.Index == index), random);
        }

        Outcome check = (await store.RunAsync("check", "--read-all", "--json", "--no-progress")).Expect(7);
        HashSet<string> blocks = [.. check.List("damaged").Select(static line => DataBlock().Match(line)).Where(static match => match.Success).Select(static match => match.Groups[1].Value)];
        Assert.Equal(lost.Order(), blocks.Order());
        List<string> unreadable = [.. check.List("unreadablePaths").Select(static line => line[(line.IndexOf(": /", StringComparison.Ordinal) + 3)..]).Distinct()];
        Assert.NotEmpty(unreadable);

        string target = Path.Join(store.Folder, "back");
        Outcome restore = (await store.RunAsync("restore", "latest", target, "--json", "--no-progress")).Expect(7);
        Assert.Equal(unreadable.Order(), restore.List("damaged").Order());
        IReadOnlyList<string> differences = new TreeCompare { IgnoreOwners = !SampleTree.IsRoot }.Run(stores.Source(1), target);
        Assert.Equal(unreadable.Select(static path => "missing: " + path).Order(), differences.Where(static line => !line.StartsWith("time: ", StringComparison.Ordinal)).Order());
        (await store.RunAsync("cat", "latest", unreadable[0])).Expect(7);
        Outcome repair = (await store.RunAsync("repair", "--json", "--no-progress")).Expect(7);
        Assert.NotEmpty(repair.List("unrepairable"));
        SampleTree.Delete(target);
    });

    [Fact]
    public async Task Any_of_three_folders_may_be_lost_and_after_a_repair_any_other()
    {
        for (int first = 0; first < 3; first++)
        {
            using DrillStore store = await stores.CopyAsync(3);
            Directory.Delete(store.Holders[first], recursive: true);
            await store.AssertRestoresAsync("latest", stores.Source(3));
            Directory.CreateDirectory(store.Holders[first]);
            (await store.RunAsync("repair", "--no-progress")).Expect(0);
            await store.AssertCleanAsync();
            Directory.Delete(store.Holders[(first + 1) % 3], recursive: true);
            await store.AssertRestoresAsync("latest", stores.Source(3));
            (await store.RunAsync("check", "--read-all", "--no-progress")).Expect(7);
            if (!Drill.IsLong)
            {
                break;
            }
        }
    }

    /// <summary>A folder that is lost for good and replaced by one of another name and place: the class is whole again.</summary>
    [Fact]
    public async Task A_folder_in_a_new_place_takes_the_fragments_of_one_that_is_gone()
    {
        using DrillStore store = await stores.CopyAsync(3);
        Directory.Delete(store.Holders[1], recursive: true);
        store.Holders[1] = Path.Join(store.Folder, "holder-new");
        Directory.CreateDirectory(store.Holders[1]);
        store.WriteConfig();
        (await store.RunAsync("repair", "--no-progress")).Expect(0);
        await store.AssertCleanAsync();
        Directory.Delete(store.Holders[0], recursive: true);
        await store.AssertRestoresAsync("latest", stores.Source(3));
    }

    private static List<Damage> DamageUpTo(int parity, SortedDictionary<string, List<FragmentSpot>> arenas, Random random, List<string> steps)
    {
        var damages = new List<Damage>();
        var budget = arenas.Keys.ToDictionary(static arena => arena, _ => random.Next(parity + 1));
        foreach ((string arena, List<FragmentSpot> spots) in arenas)
        {
            foreach (FragmentSpot spot in spots.OrderBy(_ => random.Next()))
            {
                if (budget[arena] == 0)
                {
                    break;
                }

                if (damages.Any(damage => damage.Spot == spot))
                {
                    continue; // its swap came first
                }

                budget[arena]--;
                int kind = random.Next(5);
                FragmentSpot? other = kind != 4 ? null : arenas.Where(pair => pair.Key != arena && budget[pair.Key] > 0).SelectMany(static pair => pair.Value)
                    .FirstOrDefault(candidate => candidate.Bytes == spot.Bytes && candidate.CountInFile == spot.CountInFile && damages.All(damage => damage.Spot != candidate));
                if (other is not null)
                {
                    budget[other.Arena]--;
                    Swap(spot, other);
                    damages.Add(new Damage(spot, [.. Enumerable.Range(0, spot.Groups)], spot.CountInFile == 1));
                    damages.Add(new Damage(other, [.. Enumerable.Range(0, other.Groups)], other.CountInFile == 1));
                    steps.Add($"{Show(spot)} swapped with {Show(other)}");
                    continue;
                }

                damages.Add(kind switch
                {
                    0 when spot.CountInFile == 1 => Delete(spot),
                    1 when spot.IsLast => Truncate(spot, random),
                    2 => Flip(spot, random),
                    _ => Overwrite(spot, random),
                });
                steps.Add($"{Show(spot)} kind {kind}: groups {string.Join(' ', damages[^1].Groups)}");
            }
        }

        Assert.NotEmpty(damages);
        return damages;
    }

    private static string Show(FragmentSpot spot) => $"arena {spot.Arena[..8]} fragment {spot.Index}";

    private static Damage Delete(FragmentSpot spot)
    {
        File.Delete(spot.File);
        return new Damage(spot, [.. Enumerable.Range(0, spot.Groups)], false);
    }

    private static Damage Truncate(FragmentSpot spot, Random random)
    {
        int kept = random.Next(spot.Bytes);
        using FileStream file = File.OpenWrite(spot.File);
        file.SetLength(spot.Offset + kept);
        return new Damage(spot, [.. Enumerable.Range(0, spot.Groups).Where(group => (group * FragmentSpot.GroupBytes) + spot.GroupLength(group) > kept)], true);
    }

    private static Damage Flip(FragmentSpot spot, Random random)
    {
        var groups = new SortedSet<int>();
        using FileStream file = File.Open(spot.File, FileMode.Open);
        for (int i = 0; i <= random.Next(3); i++)
        {
            int at = random.Next(spot.Bytes);
            if (groups.Add(at / FragmentSpot.GroupBytes)) // one flip a group: a second one might undo the first
            {
                file.Position = spot.Offset + at;
                int old = file.ReadByte();
                file.Position = spot.Offset + at;
                file.WriteByte((byte)(old ^ (1 << random.Next(8))));
            }
        }

        return new Damage(spot, [.. groups], false);
    }

    private static Damage Overwrite(FragmentSpot spot, Random random)
    {
        byte[] noise = new byte[spot.Bytes];
        if (random.Next(2) == 0)
        {
            random.NextBytes(noise); // else zeros, as of a sector that was never written
        }

        using FileStream file = File.OpenWrite(spot.File);
        file.Position = spot.Offset;
        file.Write(noise);
        return new Damage(spot, [.. Enumerable.Range(0, spot.Groups)], false);
    }

    /// <summary>Files that hold nothing else change their names; in files of several fragments the bytes change places.</summary>
    private static void Swap(FragmentSpot one, FragmentSpot other)
    {
        if (one.CountInFile == 1)
        {
            File.Move(one.File, one.File + ".swap");
            File.Move(other.File, one.File);
            File.Move(one.File + ".swap", other.File);
            return;
        }

        using FileStream first = File.Open(one.File, FileMode.Open);
        using FileStream second = File.Open(other.File, FileMode.Open);
        byte[] a = new byte[one.Bytes];
        byte[] b = new byte[other.Bytes];
        first.Position = one.Offset;
        first.ReadExactly(a);
        second.Position = other.Offset;
        second.ReadExactly(b);
        first.Position = one.Offset;
        first.Write(b);
        second.Position = other.Offset;
        second.Write(a);
    }

    private static List<(string Arena, int Index)> Names(List<Damage> damages) =>
        [.. damages.Select(static damage => (damage.Spot.Arena, damage.Spot.Index)).Order()];

    /// <summary>What a check names: fragments by arena id and index, and apart from them those of which only the file's record is damaged.</summary>
    private static async Task<(List<(string Arena, int Index)> Fragments, List<(string Arena, int Index)> Records)> CheckAsync(DrillStore store)
    {
        Dictionary<string, string> ids = await ArenaIdsAsync(store);
        Outcome check = (await store.RunAsync("check", "--read-all", "--json", "--no-progress")).Expect(7);
        Assert.Empty(check.List("unreadablePaths"));
        var fragments = new List<(string, int)>();
        var records = new List<(string, int)>();
        foreach (string line in check.List("damaged"))
        {
            Match match = DamagedFragment().Match(line);
            Assert.True(match.Success, $"check says what this drill does not know: {line}");
            (match.Groups[3].Value.StartsWith("a damaged copy", StringComparison.Ordinal) ? records : fragments)
                .Add((ids[match.Groups[1].Value], int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture)));
        }

        fragments.Sort();
        records.Sort();
        return (fragments, records);
    }

    private static async Task<Dictionary<string, string>> ArenaIdsAsync(DrillStore store) =>
        CatalogArena().Matches((await store.RunAsync("debug", "catalog")).Expect(0).Text).ToDictionary(static match => match.Groups[1].Value, static match => match.Groups[2].Value);

    /// <summary>An arena and two slices of it in which only data blocks lie, so that no directory of the tree goes with them.</summary>
    private static async Task<(string Arena, List<FragmentSpot> Spots, int[] Gone, HashSet<string> Lost)> ChooseAsync(DrillStore store, Random random)
    {
        SortedDictionary<string, List<FragmentSpot>> arenas = FragmentPage.Read(store.Holders);
        foreach ((string arena, List<FragmentSpot> spots) in arenas.OrderBy(_ => random.Next()))
        {
            string text = (await store.RunAsync("debug", "arenas", arena)).Expect(0).Text;
            long directory = long.Parse(DirectoryAt().Match(text).Groups[1].Value, CultureInfo.InvariantCulture);
            int slice = spots[0].Bytes;
            var clumps = ClumpLine().Matches(text).Select(match => (
                Score: match.Groups[1].Value,
                IsData: match.Groups[2].Value == "Data",
                First: long.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture) / slice,
                Last: (long.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture) + long.Parse(match.Groups[4].Value, CultureInfo.InvariantCulture) - 1) / slice)).ToList();
            Assert.NotEmpty(clumps);
            int[] free = [.. Enumerable.Range(1, 15).Where(index => (index + 1L) * slice <= directory && clumps.All(clump => clump.IsData || clump.Last < index || clump.First > index)
                && clumps.Any(clump => clump.First <= index && clump.Last >= index))];
            if (free.Length >= 2)
            {
                int[] gone = [.. free.OrderBy(_ => random.Next()).Take(2)];
                return (arena, spots, gone, [.. clumps.Where(clump => gone.Any(index => clump.First <= index && clump.Last >= index)).Select(static clump => clump.Score)]);
            }
        }

        throw new InvalidOperationException("no arena has two slices of data alone");
    }

    private static Dictionary<string, FileTrace> Trace(DrillStore store)
    {
        var traces = new Dictionary<string, FileTrace>();
        foreach (string file in store.Holders.SelectMany(static holder => Directory.GetFiles(Path.Join(holder, "fragments"), "*", SearchOption.AllDirectories)))
        {
            using FileStream bytes = File.OpenRead(file);
            traces[file] = new FileTrace(Convert.ToHexString(SHA256.HashData(bytes)), PathStat.Of(file));
        }

        return traces;
    }

    [GeneratedRegex(@"^arena (\d+), fragment (\d+) at .*?: found (.*), expected ")]
    private static partial Regex DamagedFragment();

    [GeneratedRegex(@"^data block ([0-9a-f]{16}): ")]
    private static partial Regex DataBlock();

    [GeneratedRegex(@"^arena (\d+) ([0-9a-f]{64}) ", RegexOptions.Multiline)]
    private static partial Regex CatalogArena();

    [GeneratedRegex(@"directory at (\d+) ")]
    private static partial Regex DirectoryAt();

    [GeneratedRegex(@"^  clump ([0-9a-f]{16}) (\w+) at (\d+) length (\d+) ", RegexOptions.Multiline)]
    private static partial Regex ClumpLine();

    /// <summary>What was done to a fragment: the groups that are damaged now, and whether a record of its file is too.</summary>
    private sealed record Damage(FragmentSpot Spot, int[] Groups, bool HitsRecord);

    private sealed record FileTrace(string Hash, PathStat Stat);

    /// <summary>One source tree, and a store of it over one, three and seven folders, each made when first asked for.</summary>
    public sealed class Stores : IAsyncLifetime
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-drill-damage-").FullName;
        private readonly Dictionary<int, DrillStore> _made = [];

        internal string Source(int folders) => Path.Join(_folder, $"source{folders}");

        internal async Task<DrillStore> CopyAsync(int folders)
        {
            if (!_made.TryGetValue(folders, out DrillStore? store))
            {
                _made[folders] = store = await MakeAsync(folders);
            }

            return await store.CopyAsync();
        }

        public ValueTask InitializeAsync() => ValueTask.CompletedTask;

        public ValueTask DisposeAsync()
        {
            foreach (DrillStore store in _made.Values)
            {
                store.Dispose();
            }

            SampleTree.Delete(_folder);
            return ValueTask.CompletedTask;
        }

        private static int ArenaCount(DrillStore store) =>
            store.Holders.SelectMany(static holder => Directory.GetFiles(Path.Join(holder, "fragments"), "*", SearchOption.AllDirectories)).Select(Path.GetFileName).Distinct().Count();

        /// <summary>Imports the source as it grows, a part after the other.</summary>
        private async Task<DrillStore> MakeAsync(int folders)
        {
            int? survive = folders switch { 1 => null, 3 => 1, _ => 3 };
            DrillStore store = await new DrillStore(folders, "[chunking]\nmean = \"16 KiB\"\n", survive).InitAsync();
            int wanted = folders == 3 ? 4 : Drill.Count(ArenasUsual, ArenasLong);
            var random = new Random(7);
            for (int part = 0; ArenaCount(store) < wanted; part++)
            {
                string folder = Path.Join(Source(folders), $"part{part:d3}");
                Directory.CreateDirectory(folder);
                for (int i = 0; i < 30; i++)
                {
                    byte[] bytes = new byte[random.Next(260_000)];
                    random.NextBytes(bytes);
                    await File.WriteAllBytesAsync(Path.Join(folder, $"noise-{i}"), bytes, DrillStore.Cancel);
                }

                (await store.RunAsync("import", Source(folders), "--volume", "v", "--no-progress")).Expect(0);
            }

            return store;
        }
    }
}
