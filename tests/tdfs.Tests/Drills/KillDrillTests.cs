using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>The command ended with SIGKILL at random moments of every verb that writes, and started again.</summary>
/// <remarks>
/// After each kill: the next start, reading or writing, succeeds without any help; what was acknowledged is listed, and restores byte for byte; at the end
/// (in the long run after each kill) every byte is checked, and nothing has grown that does not shrink again.
/// </remarks>
public sealed class KillDrillTests
{
    private static readonly string[] s_verbs = ["import", "forget", "reclaim", "repair", "reindex"];

    [Theory]
    [InlineData(1, 10)]
    [InlineData(3, 10)]
    public Task A_start_after_a_kill_recovers_by_itself_and_nothing_acknowledged_is_lost(int folders, int kills) =>
        Drill.SeededAsync(20 + folders, async (random, steps) =>
        {
            using var run = new KillRun(folders, random, steps);
            await run.PrepareAsync();
            List<string> verbs = [];
            int wanted = Drill.Count(kills, 150);
            for (int attempt = 0; run.Killed < wanted && attempt < wanted * 4; attempt++)
            {
                if (verbs.Count == 0)
                {
                    verbs.AddRange(s_verbs);
                }

                string verb = verbs[random.Next(verbs.Count)];
                verbs.Remove(verb);
                await run.KillAsync(verb);
                await run.VerifyAsync(isThorough: Drill.IsLong);
            }

            Assert.True(run.Killed >= (Drill.IsLong ? wanted : Math.Max(3, wanted / 3)), $"{run.Killed} of {wanted} kills: the verbs are quicker than their signals");
            await run.FinishAsync();
        });

    /// <summary>One store, a few trees that are imported in turn, and what the command said about them.</summary>
    private sealed class KillRun(int folders, Random random, List<string> steps) : IDisposable
    {
        private const int TreeCount = 4;
        private const int MostKept = 6;

        private readonly DrillStore _store = new(folders, "[chunking]\nmean = \"16 KiB\"\n[reclaim]\ntrash-for = \"0s\"\n");
        private readonly Dictionary<string, TimeSpan> _usual = [];
        private readonly Dictionary<string, string> _acknowledged = [];
        private int _labels;

        /// <summary>Verbs that the signal ended; one that was quicker is tried again with an earlier moment.</summary>
        internal int Killed { get; private set; }

        private string Tree(int number) => Path.Join(_store.Folder, $"tree{number}");

        internal async Task PrepareAsync()
        {
            for (int i = 0; i < TreeCount; i++)
            {
                // Two trees and a changed sister of each.
                SampleTree.Create(Tree(i), 100 + (i / 2), 300);
                if (i % 2 == 1)
                {
                    Change(Tree(i));
                }
            }

            await _store.InitAsync();
            await ImportAsync();
            await ImportAsync();
        }

        internal async Task KillAsync(string verb)
        {
            while (_acknowledged.Count > MostKept)
            {
                await ForgetAsync(_acknowledged.Keys.First());
            }

            if (_acknowledged.Count < 3)
            {
                await ImportAsync();
            }

            string[] line = verb switch
            {
                "import" => ["import", Tree(random.Next(TreeCount)), "--volume", "v", "--label", $"s{++_labels}", "--no-progress"],
                "forget" => ["forget", "v@" + _acknowledged.Keys.ElementAt(random.Next(_acknowledged.Count))],
                _ => [verb, "--no-progress"],
            };
            if (verb == "reclaim")
            {
                await ForgetAsync(_acknowledged.Keys.First());
            }
            else if (verb == "repair")
            {
                Damage();
            }
            else if (verb == "reindex" && random.Next(2) == 0)
            {
                _store.EmptyIndex();
            }

            // Two of three after the writer's lock was taken, when there is something to interrupt; the third anywhere, from the very start on.
            // Where a verb holds its lock for less time than looking for it takes, all are of the second kind.
            bool afterLock = random.Next(3) > 0 && _usual.GetValueOrDefault(verb + " with its lock", TimeSpan.FromMilliseconds(100)) > TimeSpan.FromMilliseconds(3);
            string clock = afterLock ? verb + " with its lock" : verb;
            TimeSpan usual = _usual.GetValueOrDefault(clock, TimeSpan.FromMilliseconds(afterLock ? 100 : 300));
            TimeSpan moment = usual * random.NextDouble();
            Outcome end = await _store.KillAsync(moment, afterLock, line);
            steps.Add($"{end.Line}: {moment.TotalMilliseconds:F0} ms{(afterLock ? " after its lock" : "")}, exit code {end.Code}");
            end.Expect(0, Outcome.Killed);
            Killed += end.Code == 0 ? 0 : 1;
            _usual[clock] = end.Code == 0 ? moment : usual * 1.05; // near the verb's own length on this machine, so that four of five signals find it running
            await LearnAsync(verb, line, end.Code == 0);

            // The next writing start: the same again, to its end.
            if (verb != "forget" || _acknowledged.ContainsKey(line[1][2..]))
            {
                if (verb == "import")
                {
                    line[5] = $"s{++_labels}"; // the one before may have come to its end: a label names one snapshot here
                }

                Outcome again = await _store.RunAsync(line);
                steps.Add($"{again.Line}: again, exit code {again.Code}");
                again.Expect(0);
                if (verb is "import" or "forget")
                {
                    await LearnAsync(verb, line, isAcknowledged: true);
                }
            }
        }

        internal async Task VerifyAsync(bool isThorough)
        {
            if (isThorough)
            {
                await _store.AssertCleanAsync();
            }

            if (isThorough || random.Next(3) == 0)
            {
                (string label, string tree) = _acknowledged.ElementAt(random.Next(_acknowledged.Count));
                await _store.AssertRestoresAsync("v@" + label, tree);
            }
        }

        internal async Task FinishAsync()
        {
            foreach ((string label, string tree) in _acknowledged)
            {
                await _store.AssertRestoresAsync("v@" + label, tree);
            }

            (await _store.RunAsync("repair", "--no-progress")).Expect(0);
            await _store.AssertCleanAsync();

            // All but one forgotten and reclaimed, the store is about as large as one that never held more: an arena stays that is 70 % alive.
            foreach (string label in _acknowledged.Keys.Skip(1).ToList())
            {
                await ForgetAsync(label);
            }

            await ForgetUnfinishedAsync();
            (string last, string source) = _acknowledged.Single();
            await _store.JsonAsync("reclaim", "--no-progress");
            await _store.JsonAsync("reclaim", "--no-progress");
            await _store.AssertRestoresAsync("v@" + last, source);
            await _store.AssertCleanAsync();
            using DrillStore fresh = await new DrillStore(folders, "[chunking]\nmean = \"16 KiB\"\n").InitAsync();
            (await fresh.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
            long used = _store.UsedBytes();
            long needed = fresh.UsedBytes();
            steps.Add($"{used} bytes used, {needed} by a fresh store");
            Assert.True(used <= (needed * 8 / 5) + (4 << 20), $"{used} bytes are used after {_labels} imports where a fresh store uses {needed}:\n{string.Join('\n', Sizes(_store))}");
            AssertNothingLeftBehind();
        }

        public void Dispose()
        {
            _store.Dispose();
        }

        private async Task ImportAsync()
        {
            string[] line = ["import", Tree(random.Next(TreeCount)), "--volume", "v", "--label", $"s{++_labels}", "--no-progress"];
            (await _store.RunAsync(line)).Expect(0);
            await LearnAsync("import", line, isAcknowledged: true);
        }

        private async Task ForgetAsync(string label)
        {
            (await _store.RunAsync("forget", "v@" + label)).Expect(0);
            _acknowledged.Remove(label);
        }

        private async Task ForgetUnfinishedAsync()
        {
            foreach (JsonElement snapshot in (await _store.JsonAsync("snapshots")).GetProperty("snapshots").EnumerateArray().Reverse().Where(static item => item.GetProperty("unfinished").GetBoolean()).ToList())
            {
                (await _store.RunAsync("forget", $"v@{snapshot.GetProperty("number").GetInt64()}")).Expect(0);
            }
        }

        /// <summary>What the command has said or shown counts from now on: said to be there, it stays; a label seen after a kill is a snapshot like any other.</summary>
        private async Task LearnAsync(string verb, string[] line, bool isAcknowledged)
        {
            List<string> listed = await ListAsync();
            if (verb == "import")
            {
                string label = line[5];
                Assert.True(!isAcknowledged || listed.Contains(label), $"import acknowledged {label}, and it is not listed");
                if (listed.Contains(label))
                {
                    _acknowledged[label] = line[1];
                }
            }
            else if (verb == "forget")
            {
                string label = line[1][2..];
                Assert.True(!isAcknowledged || !listed.Contains(label), $"forget acknowledged {label}, and it is listed");
                if (!listed.Contains(label))
                {
                    _acknowledged.Remove(label);
                }
            }

            IEnumerable<string> lost = _acknowledged.Keys.Except(listed);
            Assert.True(!lost.Any(), $"acknowledged and not listed: {string.Join(", ", lost)}");
        }

        /// <summary>Labels of whole snapshots. An interrupted import may leave an unfinished one, of which nothing was said.</summary>
        private async Task<List<string>> ListAsync() =>
            [.. (await _store.JsonAsync("snapshots")).GetProperty("snapshots").EnumerateArray().Where(static item => !item.GetProperty("unfinished").GetBoolean()).Select(static item => item.GetProperty("label").GetString()).OfType<string>()];

        /// <summary>One fragment of some arenas: what every class mends.</summary>
        private void Damage()
        {
            foreach (List<FragmentSpot> arena in FragmentPage.Read(_store.Holders).Values.Where(_ => random.Next(2) == 0))
            {
                FragmentSpot spot = arena[random.Next(arena.Count)];
                byte[] noise = new byte[random.Next(2) == 0 ? spot.Bytes : 100];
                random.NextBytes(noise);
                using FileStream file = File.OpenWrite(spot.File);
                file.Position = spot.Offset;
                file.Write(noise);
                steps.Add($"damaged {noise.Length} bytes of fragment {spot.Index} of arena {spot.Arena[..8]}");
            }
        }

        private void AssertNothingLeftBehind()
        {
            foreach (string holder in _store.Holders)
            {
                Assert.Empty(Directory.GetFileSystemEntries(Path.Join(holder, "tmp")));
                Assert.Empty(Directory.GetFileSystemEntries(Path.Join(holder, "trash")));
                Assert.Empty(Directory.GetFileSystemEntries(Path.Join(holder, "damaged")));
                Assert.InRange(Directory.GetFiles(Path.Join(holder, "objects", "catalog")).Length, 1, 2);
                Assert.InRange(Directory.GetFiles(Path.Join(holder, "objects", "anchor")).Length, 1, 8);
                string journals = Path.Join(holder, "objects", "journal");
                Assert.InRange(Directory.Exists(journals) ? Directory.GetFiles(journals).Length : 0, 0, 2);
            }

            Assert.InRange(Directory.GetFiles(Path.Join(_store.State, "catalog")).Length, 1, 2);
            Assert.InRange(Directory.GetFiles(Path.Join(_store.State, "journal")).Length, 1, 2);
            Assert.InRange(Directory.GetFiles(Path.Join(_store.State, "caches")).Length, 0, 2);
            Assert.InRange(Directory.GetFileSystemEntries(_store.State).Length, 1, 10);
            Assert.InRange(Directory.GetFiles(Path.Join(_store.State, "index"), "*", SearchOption.AllDirectories).Length, 0, 24);
        }

        private static IEnumerable<string> Sizes(DrillStore store) =>
            ((string[])[store.State, .. store.Holders]).SelectMany(static folder => Directory.GetFiles(folder, "*", SearchOption.AllDirectories))
                .Select(static file => new FileInfo(file)).OrderByDescending(static file => file.Length).Take(12).Select(static file => $"{file.Length} {file.FullName}");

        private void Change(string tree)
        {
            foreach (string folder in Directory.GetDirectories(tree, "dir*").Order(StringComparer.Ordinal))
            {
                switch (random.Next(4))
                {
                    case 0:
                        Directory.Delete(folder, recursive: true);
                        break;
                    case 1:
                        Directory.Move(folder, folder + "-renamed");
                        break;
                    case 2:
                        foreach (string file in Directory.GetFiles(folder))
                        {
                            File.AppendAllText(file, "edited");
                        }

                        break;
                    default:
                        break;
                }
            }
        }
    }
}
