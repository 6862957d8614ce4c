using System.Diagnostics;
using System.Text;
using System.Text.RegularExpressions;
using TokTok.Storage.Mount.Fuse;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>docs/a-day.md: a new user's first day, done with the real command from an empty home on, and written down as it was.</summary>
/// <remarks>The home folder, times, words and free space stand as examples. TDFS_WRITE_TRANSCRIPTS=1 writes the page anew, to be read before it is committed.</remarks>
public sealed partial class DayDrillTests
{
    private const int Terminated = 128 + 15;

    private readonly StringBuilder _page = new();
    private readonly List<string> _said = [];
    private string _home = "";

    [Fact(Timeout = 300_000)]
    public async Task A_new_users_day_is_as_the_docs_tell_it()
    {
        string? missing = FuseMount.WhyNot();
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting without fusermount3 needs root");
        _home = Directory.CreateTempSubdirectory("tdfs-day-").FullName;
        try
        {
            await LiveAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1/TDFS 2>/dev/null || true", _home);
            SampleTree.Delete(_home);
        }

        string path = Path.Join(Repository.Root, "docs", "a-day.md");
        if (Environment.GetEnvironmentVariable("TDFS_WRITE_TRANSCRIPTS") == "1")
        {
            await File.WriteAllTextAsync(path, _page.ToString(), DrillStore.Cancel);
        }

        Assert.Equal(await File.ReadAllTextAsync(path, DrillStore.Cancel), _page.ToString());
    }

    private async Task LiveAsync()
    {
        _page.Append(
            """
            # A day with TDFS

            What a new user types, from an empty home folder on, and everything that TDFS answers. `tools/run` does the first two steps by itself, and imports a folder besides.
            (A test lives this day and compares it with this page; your words, times and free space will be others.)


            """);
        await SayAsync("## A store, and a drive in it\n\nEnter alone: no passphrase, for this example. The words belong on paper.", "tdfs init --passphrase-fd 0 <<< ''");
        await SayAsync("The node shows the volume *drive* as a folder, for as long as it runs.", "mkdir TDFS");
        Process node = await UpAsync();
        await SayAsync("## Work", "cd TDFS; mkdir letters; for i in 1 2 3; do echo \"Letter $i\" > letters/$i; done; ls letters");
        await SayAsync("A snapshot keeps all of it as it is now. (The node makes one every hour by itself, if something has changed.)", "tdfs snapshot --label before-lunch");
        await SayAsync("## A mistake", "cd TDFS; rm -r letters; ls");
        await SayAsync("Every snapshot is a folder below `.snapshots`, which no listing shows: one by its time, and links for its label and for the latest one.", "cd TDFS; ls .snapshots; ls .snapshots/before-lunch/letters; cat .snapshots/before-lunch/letters/2");
        await SayAsync("Back with it. Nothing is stored twice.", "cd TDFS; cp -a .snapshots/before-lunch/letters .; cat letters/*");
        await SayAsync("Nobody can change what has been.", "cd TDFS; rm .snapshots/before-lunch/letters/2");
        await SayAsync("## What was when", "cd TDFS; echo 'And a second page' >> letters/2; tdfs snapshot --label evening");
        await SayAsync(null, "tdfs snapshots; tdfs diff before-lunch evening; tdfs log drive letters/2");
        await SayAsync("A repository lives in it as in any folder.", "cd TDFS; git init -q project; cd project; echo 'main' > README; git add README; git -c user.name=Ann -c user.email=ann@example.org commit -qm 'A beginning'; git log --format=%s; git status --short");
        await SayAsync("## Unmount, and mount again", "umount TDFS; ls -A TDFS", "everything committed");
        await EndAsync(node, "TERM", endsByItself: true);
        node = await UpAsync();
        await SayAsync(null, "ls TDFS TDFS/letters");
        await SayAsync("## Everything is killed\n\nWhat a program has synced survives that. An editor or a database does so by itself; here it is `sync`.", "cd TDFS; echo 'Written a moment ago' > note; sync note");
        await EndAsync(node, "KILL");
        await SayAsync("The folder is dead:", "ls TDFS");
        await SayAsync("The next start clears it away, and everything is there.");
        node = await UpAsync();
        await SayAsync(null, "cat TDFS/note; cat TDFS/letters/2; git -C TDFS/project fsck; git -C TDFS/project log --format=%s");
        await EndAsync(node, "TERM");
        await SayAsync("## Good night\n\nIs every byte still right?", "tdfs check --read-all --no-progress");
    }

    private async Task<Process> UpAsync()
    {
        const string Line = "tdfs up --mount drive=TDFS";
        ProcessStartInfo start = Shell($"exec {Line}");
        start.RedirectStandardInput = true;
        Process node = Process.Start(start)!;
        node.ErrorDataReceived += (_, said) => Heard(said.Data);
        node.OutputDataReceived += (_, said) => Heard(said.Data);
        node.BeginErrorReadLine();
        node.BeginOutputReadLine();
        await AwaitAsync("is mounted on", node);
        Show(Line + " &", TakeSaid());
        return node;
    }

    /// <param name="endsByItself">Its only mount is gone, so the signal may come too late for it: before it, after it, or while the runtime ends.</param>
    private async Task EndAsync(Process node, string signal, bool endsByItself = false)
    {
        Assert.Equal("", await MountDrill.ShellAsync(endsByItself ? "kill -$1 $2 2>/dev/null || true" : "kill -$1 $2", signal, $"{node.Id}"));
        await node.WaitForExitAsync(DrillStore.Cancel);
        Assert.Contains(node.ExitCode, signal == "KILL" ? [Outcome.Killed] : endsByItself ? [0, Terminated] : (int[])[0]);
        Show(signal == "KILL" ? "kill -9 %1" : "kill %1", TakeSaid());
        node.Dispose();
    }

    /// <summary>A paragraph, and what a line in the shell answered.</summary>
    /// <param name="nodeSays">The node will say so too.</param>
    private async Task SayAsync(string? paragraph, string? line = null, string? nodeSays = null)
    {
        _page.Append(paragraph is null ? "" : paragraph + "\n\n");
        if (line is null)
        {
            return;
        }

        using Process shell = Process.Start(Shell(line + " 2>&1"))!;
        string text = await shell.StandardOutput.ReadToEndAsync(DrillStore.Cancel);
        text += await shell.StandardError.ReadToEndAsync(DrillStore.Cancel);
        await shell.WaitForExitAsync(DrillStore.Cancel);
        if (nodeSays is not null)
        {
            await AwaitAsync(nodeSays, null);
            text += TakeSaid();
        }

        Show(line, text);
    }

    private void Show(string line, string text) =>
        _page.Append("```\n$ ").Append(line).Append('\n').Append(Plain(text)).Append(text.Length > 0 && !text.EndsWith('\n') ? "\n" : "").Append("```\n\n");

    private ProcessStartInfo Shell(string line)
    {
        var start = new ProcessStartInfo("bash", ["-c", "exec 2>&1; " + line]) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = _home };
        foreach (string name in start.Environment.Keys.Where(static name => name.StartsWith("TDFS_", StringComparison.Ordinal) || name.StartsWith("XDG_", StringComparison.Ordinal) || name.StartsWith("GIT_", StringComparison.Ordinal)).ToList())
        {
            start.Environment.Remove(name);
        }

        start.Environment["HOME"] = _home;
        start.Environment["XDG_RUNTIME_DIR"] = _home;
        start.Environment["LC_ALL"] = "C.UTF-8";
        start.Environment["PATH"] = Path.GetDirectoryName(DrillStore.Program) + ":" + start.Environment["PATH"];
        return start;
    }

    private void Heard(string? line)
    {
        lock (_said)
        {
            _said.AddRange(line is null ? [] : [line]);
        }
    }

    private string TakeSaid()
    {
        lock (_said)
        {
            string text = string.Concat(_said.Select(static line => line + "\n"));
            _said.Clear();
            return text;
        }
    }

    private async Task AwaitAsync(string words, Process? node)
    {
        while (true)
        {
            lock (_said)
            {
                if (_said.Any(line => line.Contains(words, StringComparison.Ordinal)))
                {
                    return;
                }
            }

            Assert.False(node is { HasExited: true }, $"the node ended: {string.Join('\n', _said)}");
            await Task.Delay(20, DrillStore.Cancel); // another process's line is what this waits for
        }
    }

    /// <summary>What differs from one day to the next, as an example.</summary>
    private string Plain(string text)
    {
        text = text.Replace(_home, "/home/ann", StringComparison.Ordinal);
        text = Time().Replace(text, static match => match.Value.Contains('_', StringComparison.Ordinal) ? "2026-11-21_12-30-00" : "2026-11-21 12:30:00");
        text = Words().Replace(text, static match => match.Groups[1].Value.PadLeft(4) + ". word      ");
        text = Read().Replace(text, "13 blocks, 9.2 KiB read");
        return TrailingSpace().Replace(text, "");
    }

    [GeneratedRegex(@"[0-9]+ blocks, [0-9.]+ \w+ read")]
    private static partial Regex Read();

    [GeneratedRegex(@" +$", RegexOptions.Multiline)]
    private static partial Regex TrailingSpace();

    [GeneratedRegex(@"\d{4}-\d\d-\d\d[ _]\d\d[:-]\d\d[:-]\d\d")]
    private static partial Regex Time();

    [GeneratedRegex(@" +(\d{1,2})\. [a-z]+")]
    private static partial Regex Words();
}
