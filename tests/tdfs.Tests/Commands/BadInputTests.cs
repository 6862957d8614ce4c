using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Win32.SafeHandles;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Tdfs.Commands;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Tests.Passphrases;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Commands;

/// <summary>Every verb's bad input against a real store, compared with the transcripts beside this file.</summary>
/// <remarks>
/// A transcript is a text file a verb: "# case", "$ command line", what came on stderr, "> " before what came on stdout, "[exit code]".
/// Paths, times and process numbers stand as {placeholders}. TDFS_WRITE_TRANSCRIPTS=1 writes them anew, to be read before they are committed.
/// A verb that is in the command and not in <see cref="Lines"/> fails, as does a case whose shape is not one line, a code, and silence on stdout.
/// </remarks>
public sealed partial class BadInputTests(BadInputTests.World world) : IClassFixture<BadInputTests.World>
{
    /// <summary>A good line of every verb; the cases below make something else bad.</summary>
    private static readonly Dictionary<string, string[]> Lines = new(StringComparer.Ordinal)
    {
        ["init"] = ["init"],
        ["import"] = ["import", "{source}", "--volume", "v"],
        ["snapshot"] = ["snapshot", "v"],
        ["snapshots"] = ["snapshots"],
        ["log"] = ["log", "v"],
        ["ls"] = ["ls", "v@latest"],
        ["cat"] = ["cat", "v@latest", "note.txt"],
        ["diff"] = ["diff", "v@1", "v@latest"],
        ["restore"] = ["restore", "v@latest", "{target}"],
        ["mark"] = ["mark", "v@1"],
        ["rollback"] = ["rollback", "v@1"],
        ["forget"] = ["forget", "v@1"],
        ["volume"] = ["volume", "list"],
        ["mount"] = ["mount", "v", "{target}"],
        ["webdav"] = ["webdav", "v", "--token-file", "{target}"],
        ["up"] = ["up"],
        ["node"] = ["node"],
        ["peer"] = ["peer", "list"],
        ["device"] = ["device", "list"],
        ["reclaim"] = ["reclaim"],
        ["check"] = ["check"],
        ["repair"] = ["repair"],
        ["reindex"] = ["reindex"],
        ["recover"] = ["recover", "--words-fd", "{words}"],
        ["redundancy"] = ["redundancy", "show", "{source}"],
        ["health"] = ["health", "v@latest"],
        ["free"] = ["free", "v@latest", "folder"],
        ["status"] = ["status"],
        ["debug"] = ["debug", "catalog"],
        ["agent"] = ["agent", "status"],
        ["completion"] = ["completion", "bash"],
    };

    private static readonly string[] s_withoutStore = ["init", "recover", "redundancy", "agent", "completion"];
    private static readonly string[] s_withoutCatalog = ["node", "peer"];
    private static readonly string[] s_withoutConfig = ["agent", "completion"];
    private static readonly string s_code = new InvitationCode { Secret = new byte[10], Fingerprint = new byte[16], Addresses = [new NodeAddress("127.0.0.1", 1)] }.ToString();
    private static readonly string s_deviceCode = new InvitationCode { Secret = new byte[10], Fingerprint = new byte[16], Addresses = [], IsForDevice = true }.ToString();
    private static readonly string[] s_writing = ["import", "snapshot", "mark", "rollback", "forget", "mount", "webdav", "up", "reclaim", "repair", "free", "reindex"];

    public static TheoryData<string> Verbs => [.. Lines.Keys];

    [Fact]
    public void Every_verb_of_the_command_has_a_transcript()
    {
        using var folder = new Stage(world);
        IEnumerable<string> verbs = CommandTree.Build(folder.Context(new StringWriter(), new StringWriter(), new MemoryStream())).Subcommands.Select(static verb => verb.Name);
        Assert.Equal(verbs.Order(StringComparer.Ordinal), Lines.Keys.Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task Bad_input_is_one_line_with_its_code(string verb)
    {
        var text = new StringBuilder();
        foreach (Case each in Cases(verb))
        {
            using var stage = new Stage(world);
            await stage.RunAsync(each, text);
        }

        string path = Path.Join(Folder(), verb + ".txt");
        if (Environment.GetEnvironmentVariable("TDFS_WRITE_TRANSCRIPTS") == "1")
        {
            await File.WriteAllTextAsync(path, text.ToString(), TestContext.Current.CancellationToken);
        }

        Assert.Equal(await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken), text.ToString());
    }

    [Fact]
    public async Task A_file_that_changes_while_it_is_read_is_kept_named_and_read_again()
    {
        using var stage = new Stage(world);
        string source = stage.Folder + "/changing";
        Directory.CreateDirectory(source);
        string path = source + "/busy";
        await File.WriteAllBytesAsync(path, Noise(16 << 20, 1), TestContext.Current.CancellationToken);
        for (int attempt = 1; ; attempt++)
        {
            using CancellationTokenSource quiet = new();
            var writing = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Task writer = Task.Factory.StartNew(
                () =>
                {
                    using SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
                    for (int i = 0; !quiet.IsCancellationRequested; i++)
                    {
                        RandomAccess.Write(file, [(byte)(i & 0xff)], i * 7919L % (16 << 20));
                        writing.TrySetResult();
                    }
                },
                CancellationToken.None,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default);
            await writing.Task;
            string volume = $"c{attempt}";
            (int code, string data, string talk) = await stage.CommandAsync(["import", source, "--volume", volume, "--store", stage.Store, "--no-progress"], "");
            await quiet.CancelAsync();
            await writer;
            if (code == 0 && attempt < 5)
            {
                continue; // the machine was busy elsewhere, and nobody wrote while the file was read
            }

            Assert.Equal($"tdfs: {path}: changed while it was read; what is kept may be a mixture\n", talk);
            Assert.StartsWith($"{volume}@1: 1 file", data, StringComparison.Ordinal);
            Assert.Equal(1, code);
            (code, data, talk) = await stage.CommandAsync(["import", source, "--volume", volume, "--store", stage.Store, "--no-progress"], "");
            Assert.True(code == 0, talk);
            Assert.Contains("(0 unchanged)", data, StringComparison.Ordinal);
            return;
        }
    }

    [Fact]
    public async Task A_file_that_vanishes_before_its_turn_is_named()
    {
        using var stage = new Stage(world);
        string source = stage.Folder + "/vanishing";
        Directory.CreateDirectory(source);
        for (int i = 0; i < 3000; i++)
        {
            await File.WriteAllBytesAsync($"{source}/file{i:d4}", [], TestContext.Current.CancellationToken);
        }

        // The names of a folder are read at once. Whoever reads the first file keeps the walk from looking at the last, which waits behind a bounded queue.
        for (int attempt = 1; ; attempt++)
        {
            await File.WriteAllBytesAsync(source + "/a-large", Noise(32 << 20, attempt), TestContext.Current.CancellationToken);
            await File.WriteAllBytesAsync(source + "/file2999", [1], TestContext.Current.CancellationToken);
            Task<(int Code, string Data, string Talk)> import = stage.CommandAsync(["import", source, "--volume", "c", "--store", stage.Store, "--workers", "1", "--no-progress"], "");
            while (!import.IsCompleted && !IsOpen(source + "/a-large"))
            {
                await Task.Yield();
            }

            File.Delete(source + "/file2999");
            (int code, _, string talk) = await import;
            if (code == 0 && attempt < 5)
            {
                continue; // the machine was busy elsewhere until the import had ended
            }

            Assert.Equal($"tdfs: {source}/file2999: vanished before it was read\n", talk);
            Assert.Equal(1, code);
            return;
        }
    }

    private static bool IsOpen(string path) => Directory.EnumerateFileSystemEntries("/proc/self/fd").Any(descriptor => TargetOf(descriptor) == path);

    private static string? TargetOf(string link)
    {
        try
        {
            return new FileInfo(link).LinkTarget;
        }
        catch (IOException)
        {
            return null; // closed meanwhile
        }
    }

    private static byte[] Noise(int count, int seed) => new SeededRandom(seed).Bytes(count);

    private static string Folder([CallerFilePath] string here = "") => Path.Join(Path.GetDirectoryName(here), "transcripts");

    private static IEnumerable<Case> Cases(string verb)
    {
        string[] line = Lines[verb];
        yield return new Case("an unknown option", [.. line, "--frobnicate"]);
        if (!s_withoutConfig.Contains(verb))
        {
            yield return new Case("no such storage.toml", [.. line, "--config", "{dir}/none.toml"]);
            yield return new Case("an empty --config", [.. line, "--config", ""]);
            yield return new Case("an unknown key", line) { Config = "[store]\nsurvvie = 1\n" };
            yield return new Case("an unknown table", line) { Config = "[stroe]\n" };
            yield return new Case("a bad size", line) { Config = "[memory]\nindex = \"12 elephants\"\n" };
            yield return new Case("a bad duration", line) { Config = "[keys]\nunlock-for = \"soon\"\n" };
            yield return new Case("a wrong type", line) { Config = "[compression]\nlevel = \"high\"\n" };
            yield return new Case("chunk bounds that cross", line) { Config = "[chunking]\nmean = \"64 KiB\"\nmax = \"64 KiB\"\n" };
            yield return new Case("more places than there are", line) { Config = "[store]\nsurvive = 3\n" };
        }

        if (!s_withoutStore.Contains(verb))
        {
            yield return new Case("no store there", [.. line, "--store", "{dir}/none"]);
            yield return new Case("a folder of other things", [.. line, "--store", "{source}"]);
            yield return new Case("a file instead of a store", [.. line, "--store", "{source}/note.txt"]);
            if (!s_withoutCatalog.Contains(verb))
            {
                yield return new Case("another account's keyring", line) { Prepare = static stage => File.Copy(stage.World.Other + "/keyring", stage.Store + "/keyring", overwrite: true) };
            }

            yield return new Case("another version", line) { Prepare = static stage => Overwrite(stage.Store + "/keyring", 7, "9"u8) };
            yield return new Case("a damaged keyring", line) { Prepare = static stage => Overwrite(stage.Store + "/keyring", 200, [255, 254, 253]) };
            yield return new Case("an empty keyring", line) { Prepare = static stage => File.WriteAllBytes(stage.Store + "/keyring", []) };
            if (!s_withoutCatalog.Contains(verb))
            {
                yield return new Case("no readable catalog anywhere", line) { Prepare = static stage => Damage(stage.Store, "/catalog/") };
            }

            yield return new Case("a wrong passphrase", line) { Prepare = static stage => stage.Lock("right"), Passphrase = "wrong" };
            yield return new Case("no passphrase", line) { Prepare = static stage => stage.Lock("right"), Passphrase = null };
        }

        if (s_writing.Contains(verb))
        {
            yield return new Case("another writer", line) { IsBesideWriter = true };
        }

        foreach (Case own in OwnCases(verb, line))
        {
            yield return own;
        }
    }

    private static IEnumerable<Case> OwnCases(string verb, string[] line) => verb switch
    {
        "init" =>
        [
            new Case("a store is there already", line),
            new Case("a file is in the way", ["init", "--store", "{source}/note.txt"]),
            new Case("below a file", ["init", "--store", "{source}/note.txt/store"]),
            new Case("nobody to ask", ["init", "--store", "{dir}/new"]) { Passphrase = null },
            new Case("a descriptor that is not open", ["init", "--store", "{dir}/new", "--passphrase-fd", "987"]),
            new Case("a descriptor below 0", ["init", "--store", "{dir}/new", "--passphrase-fd", "-1"]),
        ],
        "import" =>
        [
            new Case("no folder given", ["import"]),
            new Case("no such folder", ["import", "{dir}/none", "--volume", "v"]),
            new Case("below a file", ["import", "{source}/note.txt/x", "--volume", "v"]),
            new Case("a volume name that is empty", ["import", "{source}", "--volume", ""]),
            new Case("a volume name that is too long", ["import", "{source}", "--volume", new string('v', 256)]),
            new Case("a label that means the newest", ["import", "{source}", "--label", "latest"]),
            new Case("no workers", ["import", "{source}", "--workers", "0"]),
            new Case("a file that cannot be read", ["import", UnreadableFile, "--volume", "w"]) { Talks = true },
            new Case("a damaged journal", line) { Prepare = static stage => Damage(stage.Store, "/journal/") },
            new Case("the only holder's disk is not mounted", line) { Config = "[[holder]]\npath = \"{dir}/gone/blue\"\nplace = \"blue\"\n" },
            new Case("a second holder's disk is not mounted", line)
            {
                Config = "[[holder]]\npath = \"{dir}/store/fragments\"\nplace = \"here\"\n[[holder]]\npath = \"{dir}/gone/blue\"\nplace = \"blue\"\n",
                Talks = true,
            },
            new Case("a holder's folder of other things", line) { Config = "[[holder]]\npath = \"{source}\"\nplace = \"blue\"\n" },
            new Case("a damaged holder file", line) { Prepare = static stage => Overwrite(stage.Store + "/fragments/holder", 10, [255, 254, 253]) },
        ],
        "snapshots" =>
        [
            new Case("an unknown volume", ["snapshots", "photos"]),
            new Case("a volume that is nearly one", ["snapshots", "vv"]),
            new Case("a keyring that is older than the store", ["snapshots"]) { Prepare = static stage => GoOnUnder(stage.Store, 8_388_609) },
        ],
        "log" =>
        [
            new Case("no volume given", ["log"]),
            new Case("an unknown volume", ["log", "photos"]),
            new Case("an unknown path", ["log", "v", "nothing/here"]),
            new Case("a path that escapes", ["log", "v", "../.."]),
        ],
        "ls" => [.. SnapshotCases("ls"), .. PathCases(["ls", "v@latest"])],
        "cat" =>
        [
            .. SnapshotCases("cat", "note.txt"),
            .. PathCases(["cat", "v@latest"]),
            new Case("a folder", ["cat", "v@latest", "folder"]),
            new Case("a link", ["cat", "v@latest", "link"]),
            new Case("as JSON", ["cat", "v@latest", "note.txt", "--json"]),
            new Case("a damaged journal", line) { Prepare = static stage => Damage(stage.Store, "/journal/") },
        ],
        "diff" =>
        [
            .. SnapshotCases("diff", "v@latest"),
            .. PathCases(["diff", "v@1", "v@latest"]),
            new Case("an unknown second snapshot", ["diff", "v@1", "v@77"]),
        ],
        "restore" =>
        [
            .. SnapshotCases("restore", "{target}"),
            new Case("an unknown path", [.. line, "--path", "nothing/here"]),
            new Case("a path that escapes", [.. line, "--path", "../.."]),
            new Case("a path that begins at the root", [.. line, "--path", "/etc/passwd"]),
            new Case("a path with half an escape", [.. line, "--path", @"a\q"]),
            new Case("no target", ["restore", "v@latest", ""]),
            new Case("a target whose folder is missing", ["restore", "v@latest", "{dir}/none/none/target"]),
            new Case("a target that is a file", ["restore", "v@latest", "{source}/note.txt"]),
            new Case("a target that is a link to nothing", ["restore", "v@latest", "{target}"]) { Prepare = static stage => File.CreateSymbolicLink(stage.Target, stage.Folder + "/nothing") },
            new Case("a link to elsewhere within the target", ["restore", "v@latest", "{target}"])
            {
                Prepare = static stage =>
                {
                    Directory.CreateDirectory(stage.Target);
                    File.CreateSymbolicLink(stage.Target + "/folder", stage.World.Source);
                },
                Talks = true,
            },
            new Case("a file that exists", ["restore", "v@latest", "{target}", "--path", "note.txt"]) { Prepare = static stage => stage.Place("note.txt", "something else"), Talks = true },
            new Case("a folder where a file belongs", [.. line, "--path", "note.txt", "--overwrite", "always"]) { Prepare = static stage => stage.Place("note.txt/inside", "mine"), Talks = true },
            new Case("a file where a folder belongs", [.. line, "--overwrite", "always"]) { Prepare = static stage => stage.Place("folder", "mine"), Talks = true },
            new Case("an unknown way to overwrite", [.. line, "--overwrite", "maybe"]),
            new Case("a damaged journal", line) { Prepare = static stage => Damage(stage.Store, "/journal/") },
        ],
        "snapshot" =>
        [
            new Case("an unknown volume", ["snapshot", "photos"]),
            new Case("a volume that is nearly one", ["snapshot", "vv"]),
            new Case("a label that means the newest", [.. line, "--label", "latest"]),
        ],
        "rollback" =>
        [
            new Case("nothing to go back to", ["rollback"]),
            new Case("an unknown snapshot", ["rollback", "v@77"]),
            new Case("an unknown volume", ["rollback", "photos@1"]),
        ],
        "volume" =>
        [
            new Case("nothing to do", ["volume"]),
            new Case("an unknown thing to do", ["volume", "frob"]),
            new Case("a name that is taken", ["volume", "create", "v"]),
            new Case("a name that is empty", ["volume", "create", ""]),
            new Case("a name that nobody could type", ["volume", "create", " v"]),
            new Case("another writer", ["volume", "create", "w"]) { IsBesideWriter = true },
            new Case("an unknown volume", ["volume", "rename", "photos", "w"]),
            new Case("a new name that is taken", ["volume", "rename", "v", "v"]),
            new Case("a new name that is too long", ["volume", "rename", "v", new string('v', 256)]),
            new Case("no new name", ["volume", "rename", "v"]),
            new Case("a burnable volume whose name is taken", ["volume", "create", "--burnable", "v"]),
            new Case("burning without yes", ["volume", "burn", "v"]),
            new Case("burning what is not burnable", ["volume", "burn", "v", "--yes"]),
            new Case("burning an unknown volume", ["volume", "burn", "photos", "--yes"]),
        ],
        "mark" =>
        [
            new Case("nothing to mark", ["mark"]),
            new Case("an unknown snapshot", ["mark", "v@1", "v@77"]),
        ],
        "mount" =>
        [
            new Case("nothing given", ["mount"]),
            new Case("a word too many", [.. line, "more"]),
            new Case("no folder", ["mount", "v", ""]),
            new Case("an unknown volume", ["mount", "photos", "{source}"]),
            new Case("a volume that is nearly one", ["mount", "vv", "{source}"]),
            new Case("a folder that is not there", line),
            new Case("a file", ["mount", "v", "{source}/note.txt"]),
            new Case("the store's own folder", ["mount", "v", "{dir}/store"]),
            new Case("a folder that the store lies in", ["mount", "v", "{dir}"]),
            new Case("a new volume without a name", ["mount", "--create", "{source}"]),
            new Case("a new volume that nobody could type", ["mount", "--create", " v", "{source}"]),
        ],
        "webdav" =>
        [
            new Case("a word too many", [.. line, "more"]),
            new Case("an unknown volume", ["webdav", "photos"]),
            new Case("a volume that is nearly one", ["webdav", "vv"]),
            new Case("a new volume without a name", ["webdav", "--create"]),
            new Case("a new volume that nobody could type", ["webdav", "--create", " v"]),
            new Case("a token file that is not there", line),
            new Case("a token file without a token", ["webdav", "v", "--token-file", "{source}/note.txt"]),
            new Case("an empty --token-file", ["webdav", "v", "--token-file", ""]),
            new Case("an address without a port", ["webdav", "v", "--listen", "127.0.0.1"]),
            new Case("an address of version 6 without brackets", ["webdav", "v", "--listen", "::1:80"]),
            new Case("a port that is none", ["webdav", "v", "--listen", "127.0.0.1:65536"]),
            new Case("a name for an address", ["webdav", "v", "--listen", "example.org:80"]),
            new Case("an address of another machine", ["webdav", "v", "--listen", "192.0.2.1:4918"]),
        ],
        "up" =>
        [
            new Case("a mount of no volume", line) { Config = "[[mount]]\npath = \"{dir}\"\n" },
            new Case("a mount whose volume nobody could type", line) { Config = "[[mount]]\nvolume = \" v\"\npath = \"{dir}\"\n" },
            new Case("one folder for two volumes", line) { Config = "[[mount]]\nvolume = \"a\"\npath = \"{dir}\"\n[[mount]]\nvolume = \"b\"\npath = \"{dir}\"\n" },
            new Case("a mount without a folder", [.. line, "--mount", "work"]),
            new Case("a name for WebDAV's address", line) { Config = "[webdav]\nlisten = \"example.org\"\n" },
            new Case("a volume for WebDAV that nobody could type", line) { Config = "[webdav]\nvolumes = [\" v\"]\n" },
            new Case("a bad interval", line) { Config = "[snapshots]\nevery = \"often\"\n" },
            new Case("a folder that is not there", line) { Config = "[[mount]]\nvolume = \"v\"\npath = \"{target}\"\n" },
        ],
        "node" =>
        [
            new Case("nowhere to listen", line),
            new Case("a port that is none", line) { Config = "[node]\nlisten = \"127.0.0.1:0\"\n" },
            new Case("a name for an address", line) { Config = "[node]\nlisten = \"box:4919\"\n" },
            new Case("an address to dial without a port", line) { Config = "[node]\naddress = [\"box\"]\n" },
            new Case("an address of another machine", line) { Config = "[node]\nlisten = \"192.0.2.1:4919\"\nfolder = \"{dir}/kept\"\n" },
            new Case("a file for a folder", line) { Config = "[node]\nlisten = \"127.0.0.1:4919\"\nfolder = \"{source}/note.txt\"\n" },
            new Case("a folder that another node serves", line)
            {
                Config = "[node]\nlisten = \"127.0.0.1:4919\"\nfolder = \"{dir}/kept\"\n",
                Prepare = static stage =>
                {
                    Directory.CreateDirectory(stage.Folder + "/kept");
                    stage.Held = PosixDisk.Instance.TryLock(stage.Folder + "/kept/lock");
                },
            },
            new Case("a damaged peer list", line) { Config = "[node]\nlisten = \"127.0.0.1:4919\"\nfolder = \"{dir}/kept\"\n", Prepare = static stage => File.WriteAllText(stage.Store + "/peers", "not a list") },
        ],
        "device" =>
        [
            new Case("nothing to do", ["device"]),
            new Case("a device that nobody knows", ["device", "retire", "desk"]),
            new Case("a number that nobody has", ["device", "revoke", "7"]),
            new Case("this very device", ["device", "retire", "1"]),
            new Case("retiring beside another writer", ["device", "retire", "2"]) { IsBesideWriter = true },
            new Case("no device at all", ["device", "retire"]),
            new Case("a code for no time", ["device", "add", "--for", "0s"]),
            new Case("a code for too long", ["device", "add", "--for", "8d"]),
            new Case("a time that is none", ["device", "add", "--for", "soon"]),
            new Case("nobody would answer", ["device", "add", "--no-wait"]),
            new Case("codes that were damaged", ["device", "add"]) { Prepare = static stage => File.WriteAllText(stage.Store + "/enrolments", "not a list") },
            new Case("neither code nor words", ["device", "join", "--store", "{dir}/new"]),
            new Case("code and words", ["device", "join", s_deviceCode, "--words", "--store", "{dir}/new"]),
            new Case("a mistyped code", ["device", "join", s_deviceCode[..^1] + "x", "--store", "{dir}/new"]),
            new Case("half a code", ["device", "join", s_deviceCode[..20], "--store", "{dir}/new"]),
            new Case("no code", ["device", "join", "hello", "--store", "{dir}/new"]),
            new Case("the invitation of a peer", ["device", "join", s_code, "--store", "{dir}/new"]),
            new Case("a device's code for a peer", ["peer", "accept", s_deviceCode]),
            new Case("a store is there already", ["device", "join", s_deviceCode]),
            new Case("a catalog whose keyring is gone", ["device", "join", s_deviceCode]) { Prepare = static stage => File.Delete(stage.Store + "/keyring") },
            new Case("no folder to meet at", ["device", "join", s_deviceCode, "--store", "{dir}/new"]),
            new Case("a name with a line end", ["device", "join", s_deviceCode, "--name", "a\nb", "--store", "{dir}/new"]),
            new Case("words that are none", ["device", "join", "--words-fd", "{words}", "--store", "{dir}/new"]) { Words = "not words at all" },
        ],
        "repair" =>
        [
            new Case("a word too many", [.. line, "more"]),
            new Case("several deeds", ["repair", "--revoke", "bob", "--for", "{source}"]),
            new Case("a file for nobody", ["repair", "--export", "{target}"]),
            new Case("a peer without a file", ["repair", "--to", "bob"]),
            new Case("absent holders of nobody", ["repair", "--absent"]),
            new Case("an empty file name", ["repair", "--for", ""]),
            new Case("a file for a peer that nobody met", ["repair", "--export", "{target}", "--to", "bob"]),
            new Case("a peer to revoke that nobody met", ["repair", "--revoke", "bob"]),
            new Case("a file that is not there", ["repair", "--for", "{target}"]),
            new Case("a file that is none", ["repair", "--for", "{source}/note.txt"]),
        ],
        "peer" =>
        [
            new Case("nothing to do", ["peer"]),
            new Case("an unknown deed", ["peer", "dance"]),
            new Case("a damaged peer list", line) { Prepare = static stage => File.WriteAllText(stage.Store + "/peers", "not a list") },
            new Case("an invitation to nowhere", ["peer", "invite"]),
            new Case("a size that is none", ["peer", "invite", "--keep", "much"]),
            new Case("a time that is none", ["peer", "invite", "--for", "soon"]),
            new Case("a time that is too long", ["peer", "invite", "--for", "1000d"]),
            new Case("a name that is none", ["peer", "invite", "--name", "bob the great"]),
            new Case("no code", ["peer", "accept"]),
            new Case("another word for a code", ["peer", "accept", "hello"]),
            new Case("a mistyped code", ["peer", "accept", s_code.Replace('7', '8')]),
            new Case("a code with a letter that none has", ["peer", "accept", s_code + "u"]),
            new Case("half a code", ["peer", "accept", s_code[..40]]),
            new Case("space for others without a door", ["peer", "accept", s_code, "--keep", "1 GiB"]),
            new Case("an inviter that does not answer", ["peer", "accept", s_code]),
            new Case("changes to nobody", ["peer", "set", "bob", "--keep", "1 GiB"]) { Config = "[node]\nlisten = \"127.0.0.1:4919\"\n" },
            new Case("nothing to change", ["peer", "set", "bob"]),
            new Case("an address that is none", ["peer", "set", "bob", "--address", "box"]),
            new Case("a country that is none", ["peer", "set", "bob", "--country", "Germany"]),
            new Case("a rate that is too low", ["peer", "set", "bob", "--send", "1 KiB"]),
            new Case("a term that ends in a holiday", ["peer", "set", "bob", "--absence", "7d"]),
            new Case("nobody to forgive", ["peer", "set", "bob", "--forgive"]),
            new Case("nobody to leave", ["peer", "leave", "bob"]),
            new Case("nobody to stay", ["peer", "leave", "bob", "--stay"]),
            new Case("nobody to revoke", ["peer", "revoke", "bob"]),
            new Case("nobody to audit", ["peer", "audit", "bob"]),
            new Case("audits without number", ["peer", "audit", "--count", "0"]),
        ],
        "forget" =>
        [
            new Case("nothing to forget", ["forget"]),
            new Case("an unknown snapshot", ["forget", "v@77"]),
            new Case("an unknown volume", ["forget", "--keep", "--volume", "photos"]),
            new Case("both names and rules", ["forget", "v@1", "--keep"]),
            new Case("rules that keep nothing", ["forget", "--keep-last", "0"]),
            new Case("a number out of bounds", ["forget", "--keep-last", "-1"]),
            new Case("a number that is none", ["forget", "--keep-last", "abc"]),
        ],
        "recover" =>
        [
            new Case("a store is there already", line) { Words = "right" },
            new Case("a word that is none", [.. line, "--drill"]) { Words = string.Join(' ', Enumerable.Repeat("abendon", 24)) },
            new Case("too few words", [.. line, "--drill"]) { Words = "abandon abandon" },
            new Case("words with a wrong checksum", [.. line, "--drill"]) { Words = string.Join(' ', Enumerable.Repeat("abandon", 24)) },
            new Case("another account's words", [.. line, "--drill"]) { Words = string.Join(' ', Enumerable.Repeat("abandon", 23)) + " art" },
            new Case("a descriptor that is not open", ["recover", "--drill", "--words-fd", "987"]),
            new Case("a descriptor below 0", ["recover", "--drill", "--words-fd", "-1"]),
            new Case("nobody to ask", ["recover", "--drill"]) { Passphrase = null },
            new Case("a peer whose address is none", [.. line, "--drill", "--peer", "box"]) { Words = "right" },
            new Case("a peer that does not answer", [.. line, "--drill", "--peer", "127.0.0.1:1"]) { Words = "right" },
            new Case("no holder to recover from", [.. line, "--drill"]) { Words = "right", Config = "[[holder]]\npath = \"{dir}/gone/blue\"\nplace = \"blue\"\n" },
            new Case("a damaged anchor and no keys", [.. line, "--drill"])
            {
                Words = "right",
                Prepare = static stage =>
                {
                    Damage(stage.Store, "/objects/anchor/");
                    Damage(stage.Store, "/objects/keys/");
                },
            },
        ],
        "redundancy" =>
        [
            new Case("nothing to do", ["redundancy"]),
            new Case("a folder that is not there", ["redundancy", "show", "{dir}/none"]),
            new Case("a file", ["redundancy", "show", "{source}/note.txt"]),
            new Case("another setting", ["redundancy", "set", "{source}/folder", "perish=2"]),
            new Case("more places than can be", ["redundancy", "set", "{source}/folder", "survive=17"]),
            new Case("more places than there are", ["redundancy", "set", "{source}/folder", "survive=1"]),
            new Case("a class of more places than there are", ["redundancy", "set", "{source}/folder", "2+1"]),
            new Case("a folder to set that is not there", ["redundancy", "set", "{dir}/none", "survive=0"]),
            new Case("nothing to unset", ["redundancy", "unset", "{source}/folder"]),
        ],
        "free" =>
        [
            new Case("a word too many", [.. line, "more"]),
            new Case("nothing to free", ["free"]),
            new Case("an empty name", ["free", ""]),
            new Case("a path to list", ["free", "--list", "v@latest"]),
            new Case("to free and to keep", ["free", "v@latest", "--off", "--dry-run"]),
            new Case("what is not freed", [.. line, "--off"]),
            .. SnapshotCases("free").Skip(1),
            .. PathCases(["free", "v@latest"]),
            new Case("a folder that was never imported", ["free", "/nowhere"]),
            new Case("no other machine", ["free", "v@latest", "--dry-run"]),
            new Case("a damaged list", ["free", "--list"]) { Prepare = static stage => File.WriteAllText(stage.Store + "/freed", "not a list") },
        ],
        "health" => [.. SnapshotCases("health").Skip(1), .. PathCases(["health", "v@latest"]), new Case("a folder that was never imported", ["health", "/nowhere"])],
        "debug" =>
        [
            new Case("an unknown structure", ["debug", "nonsense"]),
            new Case("an unknown arena", ["debug", "arenas", "zzzz"]),
            new Case("an unknown arena at the holders", ["debug", "fragments", "deadbeef"]),
            new Case("an unknown volume", ["debug", "volumes", "NOSUCH"]),
            new Case("the head of an unknown volume", ["debug", "heads", "NOSUCH"]),
            new Case("an unknown holder", ["debug", "holders", "nowhere"]),
            new Case("an unknown arena of the index", ["debug", "index", "zzzz"]),
            new Case("an unknown block of the journal", ["debug", "journal", "zzzz"]),
            new Case("the stat cache of an unknown volume", ["debug", "stat-caches", "NOSUCH"]),
            new Case("an unknown tree", ["debug", "trees", "NOSUCH", "--json"]),
            new Case("a tree of no such score", ["debug", "trees", "deadbeefdeadbeef"]),
            new Case("a name where there is one", ["debug", "keyring", "mine"]),
        ],
        "agent" => [new Case("nothing to do", ["agent"]), new Case("an unknown deed", ["agent", "dance"])],
        "completion" => [new Case("an unknown shell", ["completion", "csh"]), new Case("no shell", ["completion"])],
        _ => [new Case("a word too many", [.. line, "more"])],
    };

    private static Case[] SnapshotCases(string verb, params string[] rest) =>
    [
        new Case("nothing given", [verb]),
        new Case("an unknown number", [verb, "v@77", .. rest]),
        new Case("an unknown name", [verb, "before-the-flood", .. rest]),
        new Case("an unknown volume", [verb, "photos@latest", .. rest]),
        new Case("a number of an unknown volume", [verb, "vw@1", .. rest]),
        new Case("an empty name", [verb, "", .. rest]),
    ];

    private static Case[] PathCases(string[] line) =>
    [
        new Case("an unknown path", [.. line, "nothing/here"]),
        new Case("a path that escapes", [.. line, "../.."]),
        new Case("a path through a file", [.. line, "note.txt/x"]),
        new Case("a path with half an escape", [.. line, @"a\q"]),
    ];

    /// <summary>A file that not even root may read: the kernel keeps it for writing.</summary>
    private const string UnreadableFile = "/proc/sys/vm/compact_memory";

    private static void Overwrite(string path, long offset, ReadOnlySpan<byte> bytes)
    {
        using FileStream file = File.OpenWrite(path);
        file.Position = offset;
        file.Write(bytes);
    }

    /// <summary>The catalog goes on under an epoch that the keyring does not have.</summary>
    private static void GoOnUnder(string store, uint epoch)
    {
        string newest = Directory.GetFiles(store + "/catalog").Order(StringComparer.Ordinal).Last();
        RecordLogHeader header = RecordLogHeader.Read(File.ReadAllBytes(newest), newest);
        byte[] next = new byte[RecordLogHeader.Size];
        (header with { Number = header.Number + 1, Epoch = epoch }).Write(next);
        File.WriteAllBytes(Path.Join(store, "catalog", (header.Number + 1).ToString("x16", CultureInfo.InvariantCulture)), next);
    }

    /// <summary>Damages the header of every file whose path holds the part, in the state folder and at the holder.</summary>
    private static void Damage(string store, string part)
    {
        string[] files = [.. Directory.GetFiles(store, "*", SearchOption.AllDirectories).Where(path => path.Contains(part, StringComparison.Ordinal))];
        Assert.NotEmpty(files);
        foreach (string path in files)
        {
            Overwrite(path, 9, [255, 254, 253]);
        }
    }

    /// <param name="Line">The command line, with placeholders for what differs from run to run.</param>
    private sealed record Case(string Name, string[] Line)
    {
        /// <summary>Lines that stand in storage.toml; one that begins with [memory], [keys] or [store] replaces the stage's own table.</summary>
        internal string Config { get; init; } = "";

        internal Action<Stage>? Prepare { get; init; }

        internal string? Passphrase { get; init; } = "";

        internal string Words { get; init; } = "";

        internal bool IsBesideWriter { get; init; }

        /// <summary>Something was done, so stdout says what; else nothing may stand there.</summary>
        internal bool Talks { get; init; }
    }

    /// <summary>Two accounts' stores, made once; cases work on copies.</summary>
    public sealed class World : IAsyncLifetime
    {
        internal string Root { get; } = Directory.CreateTempSubdirectory("tdfs-bad-").FullName;

        internal string Source => Root + "/source";

        internal string Store => Root + "/store";

        internal string Other => Root + "/other";

        internal string Words { get; private set; } = "";

        public async ValueTask InitializeAsync()
        {
            Directory.CreateDirectory(Source + "/folder");
            await File.WriteAllTextAsync(Source + "/note.txt", "a note\n");
            await File.WriteAllBytesAsync(Source + "/data", new byte[70_000]);
            await File.WriteAllTextAsync(Source + "/folder/inner", "inside\n");
            File.CreateSymbolicLink(Source + "/link", "note.txt");
            Words = await MakeAsync(Store);
            await MakeAsync(Other);
        }

        public ValueTask DisposeAsync()
        {
            Directory.Delete(Root, recursive: true);
            return ValueTask.CompletedTask;
        }

        private async Task<string> MakeAsync(string store)
        {
            using var stage = new Stage(this, isEmpty: true) { Clock = new LaterClock() };
            (int code, string data, string talk) = await stage.CommandAsync(["init", "--store", store, "--json", "-q"], "");
            Assert.True(code == 0, talk);
            (code, _, talk) = await stage.CommandAsync(["import", Source, "--store", store, "--volume", "v", "-q"], "");
            Assert.True(code == 0, talk);
            return WordsInJson().Match(data).Groups[1].Value;
        }
    }

    /// <summary>A folder for one case: a copy of the store, a storage.toml, and the command run in this process with the real host.</summary>
    private sealed class Stage : IDisposable
    {
        private string? _passphrase = "";

        internal Stage(World world, bool isEmpty = false)
        {
            World = world;
            Folder = Directory.CreateTempSubdirectory("tdfs-case-").FullName;
            if (!isEmpty)
            {
                Copy(world.Store, Store);
            }
        }

        internal World World { get; }

        internal TimeProvider Clock { get; init; } = TimeProvider.System;

        internal string Folder { get; }

        internal string Store => Folder + "/store";

        internal string Target => Folder + "/target";

        /// <summary>What another process would hold.</summary>
        internal IDisposable? Held { get; set; }

        public void Dispose()
        {
            Held?.Dispose();
            Directory.Delete(Folder, recursive: true);
        }

        internal void Place(string name, string text)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Join(Target, name))!);
            File.WriteAllText(Path.Join(Target, name), text);
        }

        /// <summary>Gives the keyring a passphrase that costs no time to check.</summary>
        internal void Lock(string passphrase)
        {
            byte[] file = File.ReadAllBytes(Store + "/keyring");
            Assert.Equal(KeyringOutcome.Opened, Keyring.ReadHeader(file, out KeyringHeader header, out _));
            using SecretBytes key = Keyring.DeriveUnlockKey(header, []);
            using Keyring keyring = Keyring.ReadWithKey(file, key.Span).Keyring!;
            File.WriteAllBytes(Store + "/keyring", keyring.Write(Encoding.UTF8.GetBytes(passphrase), Argon2Cost.Least, SystemRandom.Instance));
        }

        internal async Task RunAsync(Case each, StringBuilder transcript)
        {
            each.Prepare?.Invoke(this);
            await File.WriteAllTextAsync(Folder + "/storage.toml", Toml(each.Config));
            using InheritedFile? words = Array.IndexOf(each.Line, "{words}") < 0 ? null : await WordsAsync(each.Words == "right" ? World.Words : each.Words);
            string[] line = [.. each.Line.Select(word => word
                .Replace("{source}", World.Source, StringComparison.Ordinal)
                .Replace("{target}", Target, StringComparison.Ordinal)
                .Replace("{dir}", Folder, StringComparison.Ordinal)
                .Replace("{words}", words?.Descriptor.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal))];
            using IDisposable? writer = each.IsBesideWriter ? BeWriter() : null;
            (int code, string data, string talk) = await CommandAsync([.. line, "--no-progress"], each.Passphrase);
            talk = Hide(talk);
            data = Hide(data);
            transcript.Append(CultureInfo.InvariantCulture, $"# {each.Name}\n$ tdfs {string.Join(' ', each.Line.Select(Quoted))}\n{talk}");
            foreach (string shown in data.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                transcript.Append(CultureInfo.InvariantCulture, $"> {shown}\n");
            }

            transcript.Append(CultureInfo.InvariantCulture, $"[{code}]\n\n");
            if (Environment.GetEnvironmentVariable("TDFS_WRITE_TRANSCRIPTS") != "1")
            {
                Assert.Matches(@"\Atdfs: [^\n]+\n\z", talk);
                Assert.True(each.Talks || data.Length == 0, $"{each.Name}: stdout has {data}");
                Assert.True(each.Talks || code != 0, $"{each.Name}: exit code 0");
            }
        }

        internal async Task<(int Code, string Data, string Talk)> CommandAsync(string[] words, string? passphrase)
        {
            _passphrase = passphrase;
            await using StringWriter data = new() { NewLine = "\n" };
            await using StringWriter talk = new() { NewLine = "\n" };
            await using MemoryStream bytes = new();
            string[] config = words.Contains("--config") || !File.Exists(Folder + "/storage.toml") ? [] : ["--config", Folder + "/storage.toml"];
            int code = await CommandTree.RunAsync(Context(data, talk, bytes), [.. words, .. words[0] is "agent" or "completion" ? [] : config], CancellationToken.None);
            return (code, data.ToString() + Encoding.UTF8.GetString(bytes.ToArray()), talk.ToString());
        }

        internal VerbContext Context(TextWriter data, TextWriter talk, Stream bytes) => new()
        {
            Output = new CommandOutput { Data = data, DataBytes = bytes, Talk = talk, Clock = TimeProvider.System, Zone = TimeZoneInfo.Utc, TerminalWidth = null },
            Environment = Variable,
            Host = new StoreHost(PosixDisk.Instance, SystemRandom.Instance, Clock, Variable, line => talk.WriteLine("tdfs: " + TerminalText.Clean(line))),
            Terminal = Folder + "/no-terminal",
        };

        private string? Variable(string name)
        {
            if (name == "CREDENTIALS_DIRECTORY" && _passphrase is not null)
            {
                Directory.CreateDirectory(Folder + "/credentials");
                File.WriteAllText(Folder + "/credentials/tdfs-passphrase", _passphrase);
                return Folder + "/credentials";
            }

            return name is "HOME" or "XDG_RUNTIME_DIR" ? Folder : null;
        }

        private string Toml(string own)
        {
            own = own.Replace("{dir}", Folder, StringComparison.Ordinal).Replace("{source}", World.Source, StringComparison.Ordinal);
            string store = $"path = \"{Store}\"\n";
            string text = own.StartsWith("[store]\n", StringComparison.Ordinal) ? $"[store]\n{own["[store]\n".Length..]}{store}" : $"{own}\n[store]\n{store}";
            text += text.Contains("[memory]", StringComparison.Ordinal) ? "" : "[memory]\nindex = \"16 MiB\"\n";
            return text + (text.Contains("[keys]", StringComparison.Ordinal) ? "" : "[keys]\nunlock-for = \"0s\"\n");
        }

        private async Task<InheritedFile> WordsAsync(string words)
        {
            string path = Folder + "/words";
            await File.WriteAllTextAsync(path, words + "\n");
            return new InheritedFile(path);
        }

        /// <summary>Holds the writer's lock as another process would, with the note that it would leave.</summary>
        private IDisposable BeWriter()
        {
            IDisposable taken = PosixDisk.Instance.TryLock(Store + "/lock") ?? throw new InvalidOperationException("nobody else writes this copy");
            File.WriteAllText(Store + "/writer", "tdfs import, process 4711 on otherhost, since 2026-11-20 10:00 UTC");
            return taken;
        }

        private string Hide(string text)
        {
            text = text.Replace(Folder, "{dir}", StringComparison.Ordinal).Replace(World.Root, "{world}", StringComparison.Ordinal);
            text = Hex().Replace(text, "{id}");
            return Time().Replace(text, "{time}");
        }

        private static string Quoted(string word) => word.Length == 0 || word.Contains(' ', StringComparison.Ordinal) ? $"'{word}'" : word;

        private static void Copy(string from, string to)
        {
            Directory.CreateDirectory(to);
            foreach (string folder in Directory.GetDirectories(from))
            {
                Copy(folder, Path.Join(to, Path.GetFileName(folder)));
            }

            // Lock files are empty, and .NET's copy asks for a lock itself.
            foreach (string file in Directory.GetFiles(from).Where(static file => !Path.GetFileName(file).StartsWith("lock", StringComparison.Ordinal)))
            {
                File.Copy(file, Path.Join(to, Path.GetFileName(file)));
            }
        }
    }

    [GeneratedRegex(@"\b[0-9a-f]{16,64}\b")]
    private static partial Regex Hex();

    [GeneratedRegex("(?<= stored, )[0-9][0-9.hms ]*")]
    private static partial Regex Time();

    [GeneratedRegex("\"words\": *\"([a-z ]+)\"")]
    private static partial Regex WordsInJson();
}
