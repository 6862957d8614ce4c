using System.Diagnostics;
using System.Globalization;
using TokTok.Storage.Mount.Fuse;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A database in a mount whose node is killed during transactions: each that was acknowledged is there, and none is half there.</summary>
public sealed class SqliteKillDrillTests
{
    /// <summary>What a transaction leaves: so many rows of its number, text that its number says, and the sum of all in a table of its own.</summary>
    private const string Step =
        """
        BEGIN IMMEDIATE;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5 + {0} % 7)
          INSERT INTO a SELECT {0}, i, printf('%.*c', ({0} * 37 + i * 911) % 5000, char(65 + {0} % 26)), NULL FROM n;
        UPDATE a SET note = {0} WHERE k = abs({0} * 7919) % {0} + 1;
        UPDATE totals SET last = {0}, rows = rows + 5 + {0} % 7;
        COMMIT;
        SELECT 'done {0}';

        """;

    private const string Verify =
        """
        PRAGMA integrity_check;
        SELECT last, rows = (SELECT count(*) FROM a), last = (SELECT count(DISTINCT k) FROM a), (SELECT count(*) FROM a WHERE k > last) FROM totals;
        SELECT count(*) FROM (SELECT k FROM a GROUP BY k HAVING count(*) <> 5 + k % 7 OR sum(v <> printf('%.*c', (k * 37 + i * 911) % 5000, char(65 + k % 26))) > 0);
        """;

    /// <remarks>A transaction counts as acknowledged if its line was here before the kill was sent: where sqlite cannot open the folder to sync it after deleting the journal, it takes that for done
    /// (os_unix.c, unixDelete), so what it says once the node is dead is not to be believed.</remarks>
    /// <param name="synchronous">FULL lets a commit return before the name of a deleted journal is surely gone; EXTRA waits for that too.</param>
    [Theory]
    [InlineData("wal", "FULL")]
    [InlineData("delete", "EXTRA")]
    [InlineData("truncate", "FULL")]
    public Task Acknowledged_transactions_survive_every_kill_of_the_node(string journal, string synchronous) => Drill.SeededAsync(51, async (random, steps) =>
    {
        string? missing = FuseMount.WhyNot();
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting without fusermount3 needs root");
        Assert.SkipUnless(await MountDrill.ShellAsync("command -v sqlite3 > /dev/null && echo yes || true") == "yes\n", "there is no sqlite3");
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        string database = Path.Join(point, "db");
        string settings = $"PRAGMA journal_mode = {journal}; PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 40;\n";
        var work = new Work();
        int wanted = Drill.Count(3, 67);
        try
        {
            for (int kill = 0; kill < wanted; kill++)
            {
                using Process node = await MountDrill.MountAsync(store, "--create", "v", point);
                if (kill == 0)
                {
                    await MountDrill.ShellAsync("sqlite3 -bail $1 \"$2\"; sync $1 $(dirname $1)", database, settings + "CREATE TABLE a(k, i, v, note); CREATE INDEX by_k ON a(k); CREATE TABLE totals(last, rows); INSERT INTO totals VALUES(0, 0);");
                }

                long last = await VerifyAsync(database, work);
                TimeSpan moment = TimeSpan.FromMilliseconds(20 + random.Next(kill % 4 == 3 ? 2000 : 500));
                steps.Add($"kill {kill} after {moment.TotalMilliseconds} ms, {work.Acknowledged} acknowledged, {last} there");
                Process sqlite = Process.Start(new ProcessStartInfo("sqlite3", ["-bail", "-batch", database]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
                Task<string> said = sqlite.StandardError.ReadToEndAsync(DrillStore.Cancel);
                work.Begin(last);
                Task working = Task.Run(() => WorkAsync(sqlite, settings, work));
                _ = await Task.WhenAny(working, Task.Delay(moment, DrillStore.Cancel)); // the moment is what this drill is about
                Assert.False(working.IsCompleted, $"sqlite3 ended before the kill: {(working.IsCompleted ? await said : "")}");
                work.End();
                node.Kill();
                await node.WaitForExitAsync(DrillStore.Cancel);
                await working.WaitAsync(TimeSpan.FromSeconds(60), DrillStore.Cancel); // nobody is left waiting
                await sqlite.WaitForExitAsync(DrillStore.Cancel);
                sqlite.Dispose();
            }

            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                await VerifyAsync(database, work);
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            Assert.True(work.Acknowledged > wanted * 2, $"{work.Acknowledged} transactions are next to nothing");
            TestContext.Current.SendDiagnosticMessage("{0}: {1} transactions, {2} kills", journal, work.Acknowledged, wanted);
            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    });

    /// <summary>One transaction after the other, until the node is gone.</summary>
    private static async Task WorkAsync(Process sqlite, string settings, Work work)
    {
        try
        {
            await sqlite.StandardInput.WriteAsync(settings);
            while (true)
            {
                string number = work.BeginNext().ToString(CultureInfo.InvariantCulture);
                await sqlite.StandardInput.WriteAsync(Step.Replace("{0}", number, StringComparison.Ordinal));
                await sqlite.StandardInput.FlushAsync();
                for (string? line = ""; line != "done " + number; line = await sqlite.StandardOutput.ReadLineAsync())
                {
                    if (line is null)
                    {
                        return;
                    }
                }

                work.Acknowledge();
            }
        }
        catch (IOException)
        {
            // it has ended
        }
    }

    /// <returns>The last transaction that is there.</returns>
    private static async Task<long> VerifyAsync(string database, Work work)
    {
        string[] found = (await MountDrill.ShellAsync("sqlite3 -bail $1 \"$2\"", database, Verify)).Split('\n');
        Assert.Equal("ok", found[0]);
        string[] totals = found[1].Split('|');
        long last = long.Parse(totals[0], CultureInfo.InvariantCulture);
        Assert.True(last >= work.Acknowledged && last <= work.Begun, $"transaction {last} is the last one, {work.Acknowledged} were acknowledged and {work.Begun} begun");
        Assert.Equal(["1", "1", "0"], totals[1..]);
        Assert.Equal("0", found[2]);
        return last;
    }

    /// <summary>How far the transactions have come, and what counts of what sqlite says.</summary>
    private sealed class Work
    {
        private readonly Lock _gate = new();
        private bool _isOver;

        internal long Acknowledged { get; private set; }

        internal long Begun { get; private set; }

        /// <param name="last">The last transaction that is there.</param>
        internal void Begin(long last)
        {
            (Acknowledged, Begun, _isOver) = (last, last, false);
        }

        internal long BeginNext() => ++Begun;

        internal void Acknowledge()
        {
            lock (_gate)
            {
                Acknowledged = _isOver ? Acknowledged : Begun;
            }
        }

        /// <summary>From when this returns nothing counts any more.</summary>
        internal void End()
        {
            lock (_gate)
            {
                _isOver = true;
            }
        }
    }
}
