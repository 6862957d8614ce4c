using System.Net;
using System.Text.Json;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Tests.Passphrases;

namespace TokTok.Storage.Tdfs.Tests.Commands;

public sealed class CommandTests : IDisposable
{
    private readonly Transcript _transcript = new();

    public void Dispose() => _transcript.Dispose();

    private T Asked<T>() => Assert.IsType<T>(Assert.Single(_transcript.Host.Asked));

    private JsonElement Json() => JsonDocument.Parse(_transcript.Data).RootElement;

    [Fact]
    public async Task Every_verb_has_help_with_examples_that_parse()
    {
        Assert.Equal(0, await _transcript.RunAsync("--help"));
        string[] verbs = [.. _transcript.Data.Split("Commands:")[1].Split('\n').Select(l => l.Trim().Split(' ')[0]).Where(v => v.Length > 0)];
        Assert.Equal(31, verbs.Length);
        foreach (string verb in verbs)
        {
            Assert.Equal(0, await _transcript.RunAsync(verb, "--help"));
            string[] examples = [.. _transcript.Data.Split("Examples:\n")[1].Split('\n').Where(l => l.StartsWith("  ", StringComparison.Ordinal)).Select(l => l.Trim())];
            Assert.NotEmpty(examples);
            Assert.All(examples, e => Assert.Contains("tdfs " + verb, e));
        }
    }

    [Fact]
    public async Task Without_a_composed_store_only_verbs_that_need_none_exist()
    {
        Assert.Equal(0, await _transcript.RunAsync(null, ["--help"]));
        Assert.DoesNotContain("import", _transcript.Data);
        Assert.Contains("completion", _transcript.Data);
        Assert.Equal(2, await _transcript.RunAsync(null, ["import", "/x"]));
    }

    public static TheoryData<string[], int, string> BadLines => new()
    {
        { [], 2, "Required command was not provided; `tdfs --help` lists what there is" },
        { ["imprt", "/x"], 2, "found 'imprt', expected a verb, was 'import' meant; `tdfs --help`" },
        { ["import"], 2, "`tdfs import --help` shows how it is used" },
        { ["import", ""], 2, "found an empty folder name" },
        { ["import", "/x", "--workers", "0"], 2, "found --workers 0, expected 1 to 256" },
        { ["import", "/x", "--workers", "many"], 2, "tdfs: found --workers 'many', expected a whole number; `tdfs import --help`" },
        { ["import", "/x", "--workers", "1", "--workers", "2"], 2, "--workers" },
        { ["forget", "--keep-last", "99999999999"], 2, "found --keep-last '99999999999', expected a whole number" },
        { ["status", "--passphrase-fd", "three"], 2, "found --passphrase-fd 'three', expected a whole number" },
        { ["import", "/x", "/y"], 2, "/y" },
        { ["ls", "latest", @"a\q"], 2, "found a backslash that begins no escape" },
        { ["cat", "latest", "a", "--json"], 2, "cat writes the file's bytes" },
        { ["restore", "latest", ""], 2, "found an empty target" },
        { ["restore", "latest", "/x", "--overwrite", "maybe"], 2, "maybe" },
        { ["forget"], 2, "found neither snapshots nor keep rules" },
        { ["forget", "a", "--keep"], 2, "found both snapshots and keep rules" },
        { ["forget", "--keep-last", "0"], 2, "found keep rules that keep nothing" },
        { ["forget", "--keep-last", "-1"], 2, "found --keep-last -1, expected 0 to 10000" },
        { ["debug", "nonsense"], 2, "expected one of catalog, arena" },
        { ["redundancy", "show", ""], 2, "found an empty folder name, expected a folder of this machine" },
        { ["redundancy", "set", "", "survive=0"], 2, "found an empty folder name" },
        { ["redundancy", "unset", ""], 2, "found an empty folder name" },
        { ["completion", "csh"], 2, "csh" },
        { ["completion", "bash", "--json"], 2, "found --json with completion, expected none" },
        { ["status", "--config", "/nowhere/storage.toml"], 3, "/nowhere/storage.toml: found no such file" },
        { ["status", "--store", ""], 2, "found an empty --store" },
        { ["status", "--config", ""], 2, "found an empty --config, expected a file" },
        { ["init"], 6, "found no terminal to ask for the passphrase" },
        { ["recover", "--drill"], 6, "found no terminal to ask for the words" },
    };

    [Theory]
    [MemberData(nameof(BadLines))]
    public async Task A_bad_line_is_one_line_of_trouble_and_its_code(string[] words, int expectedCode, string expected)
    {
        Assert.Equal(expectedCode, await _transcript.RunAsync(words));
        Assert.Equal("", _transcript.Data);
        Assert.Matches(@"\Atdfs: [^\n]+\n\z", _transcript.Talk);
        Assert.Contains(expected, _transcript.Talk);
    }

    [Fact]
    public async Task Webdav_says_where_and_shows_the_password_to_a_terminal_alone()
    {
        Assert.Equal(0, await _transcript.RunAsync("webdav"));
        Assert.Equal(
            ("photos: served no more, everything committed\n", "photos is served at http://127.0.0.1:4918/; Ctrl-C ends it\nany user name; the password is in /store/webdav-token\n"),
            (_transcript.Data, _transcript.Talk));
        WebDavRequest asked = Assert.IsType<WebDavRequest>(Assert.Single(_transcript.Host.Asked));
        Assert.Empty(asked.Volumes);
        Assert.Equal((new IPEndPoint(IPAddress.Loopback, 4918), null, false, false), (asked.Endpoint, asked.TokenFile, asked.Creates, asked.AsCollections));
        Assert.Equal(0, await _transcript.RunAsync("webdav", "--create", "work", "--listen", "[::1]:0", "--token-file", "/t", "--json"));
        asked = Assert.IsType<WebDavRequest>(_transcript.Host.Asked[^1]);
        Assert.Equal(["work"], asked.Volumes);
        Assert.Equal((new IPEndPoint(IPAddress.IPv6Loopback, 0), "/t", true, false), (asked.Endpoint, asked.TokenFile, asked.Creates, asked.AsCollections));
        Assert.Equal(0, await _transcript.RunAsync("webdav", "--listen", "localhost:80"));
        Assert.DoesNotContain("encrypted", _transcript.Talk);
        Assert.Equal(0, await _transcript.RunAsync("webdav", "--listen", "0.0.0.0:4918"));
        Assert.Contains("nothing here is encrypted", _transcript.Talk);
        _transcript.TerminalWidth = () => 80;
        Assert.Equal(0, await _transcript.RunAsync("webdav"));
        Assert.Contains("the password is secret\nall in one:    http://tdfs:secret@127.0.0.1:4918/\n", _transcript.Talk);
    }

    [Fact]
    public async Task Devices_are_added_joined_listed_and_let_go()
    {
        Assert.Equal(0, await _transcript.RunAsync("device", "add", "--for", "2h"));
        Assert.Equal("tdfs-000000\n", _transcript.Data);
        Assert.Contains("within 2h", _transcript.Talk, StringComparison.Ordinal);
        Assert.Contains("/mnt/blue", _transcript.Talk, StringComparison.Ordinal);
        Assert.Contains("desk is device 2", _transcript.Talk, StringComparison.Ordinal);
        _transcript.Host.Joined = null;
        Assert.Equal((int)ExitCode.NotFound, await _transcript.RunAsync("device", "add"));
        Assert.Equal(0, await _transcript.RunAsync("device", "add", "--no-wait"));
        Assert.Equal(0, await _transcript.RunAsync("device", "list"));
        Assert.Contains("2026-11-20", _transcript.Data, StringComparison.Ordinal);
        Assert.Contains("3.00 MiB", _transcript.Data, StringComparison.Ordinal);
        Assert.Equal(0, await _transcript.RunAsync("device", "retire", "desk"));
        Assert.Contains("is retired; device 1 owns", _transcript.Data, StringComparison.Ordinal);
        Assert.Equal(0, await _transcript.RunAsync("device", "revoke", "2", "--json"));
        Assert.Contains("\"state\": \"revoked\"", _transcript.Data, StringComparison.Ordinal);
        Assert.Contains(("retire", "desk"), _transcript.Host.Asked);
        Assert.Contains("not told yet: peer bob (192.0.2.7:4919): nothing listens there;", _transcript.Talk, StringComparison.Ordinal);
        Assert.Contains(("revoke device", "2"), _transcript.Host.Asked);
    }

    [Fact]
    public async Task A_code_is_all_that_an_invitation_writes_to_stdout()
    {
        Assert.Equal(0, await _transcript.RunAsync("peer", "invite", "--keep", "3 GiB", "--for", "2h", "--name", "bob", "--place", "hill"));
        Assert.Equal("tdfs-000000\n", _transcript.Data);
        Assert.Contains("3.00 GiB are kept for it here", _transcript.Talk);
        Assert.Equal(new InviteRequest { KeptBytes = 3L << 30, ValidFor = TimeSpan.FromHours(2), Name = "bob", Place = "hill" }, Asked<InviteRequest>());
    }

    [Fact]
    public async Task Peers_are_listed_with_what_each_keeps_for_the_other()
    {
        Assert.Equal(0, await _transcript.RunAsync("peer", "list"));
        Assert.Contains("bob   hill      1.00 GiB      2.00 GiB      5.00 MiB       0 B    365 days  192.0.2.7:4919", _transcript.Data);
        Assert.Contains("1 invitation can still be used", _transcript.Data);
        _transcript.Host.Peer = _transcript.Host.Peer with { Problem = "bob (192.0.2.7:4919): nothing listens there", UsedBytes = null };
        Assert.Equal(1, await _transcript.RunAsync("peer", "list", "--json"));
        JsonElement peer = Assert.Single(Json().GetProperty("peers").EnumerateArray());
        Assert.Equal("bob (192.0.2.7:4919): nothing listens there", peer.GetProperty("problem").GetString());
        Assert.False(peer.TryGetProperty("usedBytes", out _));
    }

    [Fact]
    public async Task Audits_are_told_in_a_sentence_and_failures_by_the_exit_code()
    {
        Assert.Equal(0, await _transcript.RunAsync("peer", "audit"));
        Assert.Equal("bob: 64 audits passed\n", _transcript.Data);
        Assert.Equal(((string?)null, 64), Assert.IsType<(string?, int)>(_transcript.Host.Asked[^1]));
        _transcript.Host.Audit = _transcript.Host.Audit with { Passed = 10, Failed = 7 };
        Assert.Equal(7, await _transcript.RunAsync("peer", "audit", "bob", "--count", "17"));
        Assert.Equal(("bob", 17), Assert.IsType<(string?, int)>(_transcript.Host.Asked[^1]));
        Assert.StartsWith("bob: 7 of 17 audits FAILED", _transcript.Data, StringComparison.Ordinal);
        _transcript.Host.Audit = _transcript.Host.Audit with { Passed = 2, Failed = 0, Unanswered = 1 };
        Assert.Equal(1, await _transcript.RunAsync("peer", "audit", "--json"));
        JsonElement peer = Assert.Single(Json().GetProperty("peers").EnumerateArray());
        Assert.Equal((1, "good", 70, 81.25), (peer.GetProperty("unanswered").GetInt32(), peer.GetProperty("standing").GetString(), peer.GetProperty("auditsPassed").GetInt32(), peer.GetProperty("truth").GetDouble()));
    }

    [Fact]
    public async Task A_friend_is_given_a_file_repairs_by_it_and_is_revoked()
    {
        Assert.Equal(0, await _transcript.RunAsync("repair", "--export", "bob.repair", "--to", "bob"));
        Assert.Equal(("export", "bob", "bob.repair"), _transcript.Host.Asked[^1]);
        Assert.Equal((StoreAccess.Read, "/x/bob.repair: bob can repair 5 arenas at 3 peers with it, and read none; what is written from now on is not in it\n"), (_transcript.Host.Access!.Value, _transcript.Data));
        Assert.Equal(0, await _transcript.RunAsync("repair", "--for", "ann.repair", "--absent"));
        Assert.Equal(("repair for", "ann.repair", true), _transcript.Host.Asked[^1]);
        Assert.Equal("for ann: repaired 7 fragments, 8.00 KiB written; 2 of 3 peers answered\n", _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("repair", "--revoke", "bob"));
        Assert.Equal("bob repairs for this store no more at 3 peers\n", _transcript.Data);
        _transcript.Host.Problems = ["cat (192.0.2.8:4919): it does not answer"];
        foreach (string[] words in (string[][])[["--export", "f", "--to", "bob"], ["--for", "f"], ["--revoke", "bob"]])
        {
            Assert.Equal(1, await _transcript.RunAsync(["repair", .. words]));
            Assert.Contains("cat (192.0.2.8:4919): it does not answer", _transcript.Talk, StringComparison.Ordinal);
        }

        _transcript.Host.Damage = ["arena 1: gone"];
        Assert.Equal(7, await _transcript.RunAsync("repair", "--for", "f", "--json"));
        Assert.Equal((7, 2), (Json().GetProperty("repairedFragments").GetInt32(), Json().GetProperty("answering").GetInt32()));
    }

    [Fact]
    public async Task What_was_seen_of_a_peer_stands_below_what_it_says()
    {
        _transcript.Host.Peer = _transcript.Host.Peer with { Evidence = _transcript.Host.Audit.Evidence with { Standing = HolderStanding.Lost } };
        Assert.Equal(0, await _transcript.RunAsync("peer", "list"));
        Assert.Matches("bob +70 +1 +81\\.. % +99\\.5 % +", _transcript.Data);
        Assert.Contains("LOST", _transcript.Data, StringComparison.Ordinal);
        _transcript.Host.Evidence = new StoreEvidence(3, 3, 1_795_235_405);
        Assert.Equal(0, await _transcript.RunAsync("status"));
        Assert.Contains("peers       all 3 peers proved to have what was asked for at random, verified ", _transcript.Data, StringComparison.Ordinal);
        _transcript.Host.Evidence = new StoreEvidence(3, 1, 0);
        Assert.Equal(0, await _transcript.RunAsync("health", "latest"));
        Assert.Contains("By the holders' records: 1 of 3 peers proved to have what was asked for at random, `tdfs peer audit` asks; --read-all reads every byte.", _transcript.Data, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_freed_is_said_with_what_it_gives_back_and_when()
    {
        Assert.Equal(0, await _transcript.RunAsync("free", "photos@latest", "2019"));
        Assert.Equal(("free", "photos@latest", "2019", false), _transcript.Host.Asked[^1]);
        Assert.Equal(
            """
            photos: 2019 is freed: 5.00 MiB went to other machines alone, 1.00 MiB lay there before
            here, nothing is given back yet: 3.00 MiB are in the trash for 7 running days, then `tdfs reclaim` empties it; about 1.00 MiB lie beside what stays, and `tdfs reclaim` takes them apart
            2.00 KiB of it stay here: other folders or volumes want them too
            1.00 KiB of it stay as they are: another device of the account owns them, or they were taken up lately

            """,
            _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("free", "/home/me/photos", "--dry-run", "--json"));
        Assert.Equal(("free", "v@1", "", true), _transcript.Host.Asked[^1]);
        Assert.Equal((true, 4 << 20), (Json().GetProperty("dryRun").GetBoolean(), Json().GetProperty("localBytes").GetInt64()));
        Assert.Equal(0, await _transcript.RunAsync("free", "--off", "photos@latest", "2019"));
        Assert.Equal(("keep", "photos@latest", "2019"), _transcript.Host.Asked[^1]);
        Assert.Equal("photos: 2019 is kept here again: 5.00 MiB came back\n", _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("free", "--list"));
        Assert.Matches(@"photos +2019 +.*\n.*work +/ +", _transcript.Data);
        _transcript.Host.Problems = ["arena 5: not shown"];
        Assert.Equal(1, await _transcript.RunAsync("free", "photos@latest"));
        Assert.Contains("arena 5: not shown", _transcript.Talk, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_what_is_named_is_changed_about_a_peer()
    {
        Assert.Equal(0, await _transcript.RunAsync("peer", "set", "bob", "--send", "1 MiB", "--ends-in", "0s"));
        SetPeerRequest asked = Asked<SetPeerRequest>();
        Assert.Equal(("bob", 1L << 20, TimeSpan.Zero, null, null), (asked.Name, asked.SendRate, asked.EndsIn, asked.KeptBytes, asked.Place));
        Assert.Equal(0, await _transcript.RunAsync("peer", "set", "bob", "--cancel-releases"));
        Assert.Contains("bob: 3 arenas taken back", _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("peer", "set", "bob", "--forgive"));
        Assert.Equal(("forgive", "bob"), _transcript.Host.Asked[^1]);
    }

    [Fact]
    public async Task Mount_says_where_and_when_it_is_over()
    {
        Assert.Equal(0, await _transcript.RunAsync("mount", "/x"));
        Assert.Equal(("photos: unmounted from /x, everything committed\n", "photos is mounted on /x; Ctrl-C or `umount /x` ends it\n"), (_transcript.Data, _transcript.Talk));
        Assert.Equal(new MountRequest { Folder = "/x" }, Assert.Single(_transcript.Host.Asked));
        Assert.Equal(0, await _transcript.RunAsync("mount", "--create", "work", "/x", "--json"));
        Assert.Contains("\"wasInUse\": true", _transcript.Data);
        Assert.Contains("/x was still in use", _transcript.Talk);
        Assert.Equal(0, await _transcript.RunAsync("mount", "/x", "--writeback-cache"));
        Assert.Equal(new MountRequest { Folder = "/x", WritebackCache = true }, _transcript.Host.Asked[^1]);
    }

    [Theory]
    [InlineData("snapshots")]
    [InlineData("log", "photos")]
    [InlineData("ls", "latest")]
    [InlineData("cat", "latest", "a")]
    [InlineData("diff", "a", "b")]
    [InlineData("restore", "latest", "/x")]
    [InlineData("check")]
    [InlineData("health", "latest")]
    [InlineData("free", "--list")]
    [InlineData("peer", "audit")]
    [InlineData("status")]
    [InlineData("debug")]
    [InlineData("forget", "--keep", "--dry-run")]
    [InlineData("reclaim", "--dry-run")]
    public async Task Reading_verbs_open_the_store_for_reading(params string[] words)
    {
        Assert.Equal(0, await _transcript.RunAsync(words));
        Assert.Equal(StoreAccess.Read, _transcript.Host.Access);
    }

    [Theory]
    [InlineData("import", "/x")]
    [InlineData("forget", "latest")]
    [InlineData("mark", "latest")]
    [InlineData("mount", "photos", "/x")]
    [InlineData("webdav", "photos")]
    [InlineData("snapshot")]
    [InlineData("rollback", "photos@3")]
    [InlineData("volume", "create", "work")]
    [InlineData("reclaim")]
    [InlineData("repair")]
    [InlineData("free", "latest")]
    [InlineData("reindex")]
    public async Task Writing_verbs_open_it_for_writing_and_say_who_does_already(params string[] words)
    {
        Assert.Equal(0, await _transcript.RunAsync(words));
        Assert.Equal(words[0] switch { "reclaim" or "free" => StoreAccess.WriteInTurns, "mount" or "webdav" => StoreAccess.Serve, _ => StoreAccess.Write }, _transcript.Host.Access);
        _transcript.Host.Fails = new UserError(ExitCode.Locked, "found process 42 writing this store, expected none");
        Assert.Equal(5, await _transcript.RunAsync(words));
        Assert.Equal("tdfs: found process 42 writing this store, expected none\n", _transcript.Talk);
    }

    [Fact]
    public async Task Init_shows_the_words_numbered()
    {
        string pass = Path.Join(_transcript.Home, "pass");
        File.WriteAllText(pass, "secret\n");
        using InheritedFile file = new(pass);
        Assert.Equal(0, await _transcript.RunAsync("init", "--sheet", "--store", "/vault", "--passphrase-fd", $"{file.Descriptor}"));
        Assert.Contains("   1. abandon      2. ability      3. able         4. about\n   5. above ", _transcript.Data);
        Assert.Contains("Holder:  /h (place here)", _transcript.Data);
        Assert.Contains("/vault", _transcript.Data);
        Assert.DoesNotContain("secret", _transcript.Data + _transcript.Talk);
    }

    [Fact]
    public async Task Import_carries_its_options_and_tells_what_came_of_it()
    {
        Assert.Equal(0, await _transcript.RunAsync("import", "/data/", "--volume", "photos", "--label", "x", "--exclude", "*.o", "--exclude", "/tmp", "--one-file-system", "--workers", "3"));
        ImportRequest request = Asked<ImportRequest>();
        Assert.Equal(("photos", "x", true, 3), (request.Volume, request.Label, request.Rules.OneFileSystem, request.Rules.Workers));
        Assert.Equal(["*.o", "/tmp"], request.Rules.Exclude);
        Assert.Equal("photos@3: 12 files (2 unchanged), 2.00 KiB read, 1.00 KiB known already, 512 B stored, 0.0s\n", _transcript.Data);
        Assert.Equal("", _transcript.Talk);
    }

    /// <summary>System.CommandLine takes "@list" for a file of options unless it is told not to.</summary>
    [Fact]
    public async Task A_word_that_begins_with_an_at_sign_is_a_word()
    {
        Assert.Equal(0, await _transcript.RunAsync("import", "/data", "--exclude", "@eaDir"));
        Assert.Equal(["@eaDir"], Asked<ImportRequest>().Rules.Exclude);
        _transcript.Host.Asked.Clear();
        string list = Path.Join(_transcript.Home, "list");
        File.WriteAllText(list, "/data --label taken-from-a-file");
        Assert.Equal(0, await _transcript.RunAsync("import", "@" + list));
        Assert.Null(Asked<ImportRequest>().Label);
        Assert.EndsWith("/@" + list, Asked<ImportRequest>().Folder, StringComparison.Ordinal);
    }

    public static TheoryData<string[], string> BadNames => new()
    {
        { ["--label", ""], "found a label of 0 bytes, expected 1 to 4096" },
        { ["--label", new string('x', 5000)], "found a label of 5000 bytes, expected 1 to 4096" },
        { ["--label", "latest"], "found the label 'latest', which means the newest snapshot; expected another" },
        { ["--label", "42"], "found the label '42', which is how a snapshot's number is written; expected another" },
        { ["--label", "photos@old"], "found the label 'photos@old', whose '@' stands between a volume and a snapshot's name; expected another" },
        { ["--label", "two\nlines"], "found a line's end in the label, expected text that can be typed again" },
        { ["--label", "bell\a"], "found the control character U+0007 in the label" },
        { ["--label", " summer"], "found the label ' summer', with white space at its ends" },
        { ["--label=-x"], "found the label '-x', which begins as an option does" },
        { ["--volume", ""], "found a volume name of 0 bytes, expected 1 to 255" },
        { ["--volume", new string('ü', 128)], "found a volume name of 256 bytes, expected 1 to 255" },
        { ["--volume", "two\nlines"], "found a line's end in the volume name" },
        { ["--volume", "esc\u001b[1m"], "found the control character U+001B in the volume name" },
        { ["--volume", "photos "], "found the volume name 'photos '" },
        { ["--volume=-v"], "found the volume name '-v'" },
    };

    [Theory]
    [MemberData(nameof(BadNames))]
    public async Task A_name_that_could_not_be_used_later_is_refused_before_the_store_is_opened(string[] words, string expected)
    {
        Assert.Equal(2, await _transcript.RunAsync(["import", "/data", .. words]));
        Assert.StartsWith("tdfs: " + expected, _transcript.Talk, StringComparison.Ordinal);
        Assert.Null(_transcript.Host.Access);
    }

    [Fact]
    public async Task A_folder_with_a_line_end_in_its_name_needs_a_volume_name()
    {
        Assert.Equal(2, await _transcript.RunAsync("import", "/data/two\nlines"));
        Assert.Equal("tdfs: found a line's end in the folder's name, which no volume can be called after; give it a name with --volume\n", _transcript.Talk);
        Assert.Equal(0, await _transcript.RunAsync("import", "/data/two\nlines", "--volume", "lines"));
    }

    [Fact]
    public async Task An_import_with_unreadable_files_finishes_names_them_and_says_so_by_its_code()
    {
        _transcript.Host.Problems = ["/data/x: Permission denied"];
        Assert.Equal(1, await _transcript.RunAsync("import", "/data"));
        Assert.Equal("tdfs: /data/x: Permission denied\n", _transcript.Talk);
        Assert.Equal(1, await _transcript.RunAsync("import", "/data", "--json"));
        Assert.Equal("", _transcript.Talk);
        Assert.Equal("/data/x: Permission denied", Json().GetProperty("problems")[0].GetString());
        Assert.Equal(512, Json().GetProperty("storedBytes").GetInt64());
    }

    [Fact]
    public async Task Snapshots_are_a_table_or_json()
    {
        await _transcript.RunAsync("snapshots", "photos");
        Assert.Equal("SNAPSHOT  TIME                 ENTRIES      SIZE  LABEL\nphotos@3  2026-11-21 04:30:05       12  2.00 KiB  summer\n", _transcript.Data);
        await _transcript.RunAsync("snapshots", "--json");
        JsonElement snapshot = Json().GetProperty("snapshots")[0];
        Assert.Equal("2026-11-21T04:30:05.000000000Z", snapshot.GetProperty("time").GetString());
    }

    [Fact]
    public async Task Volumes_that_cannot_be_read_are_listed_below_the_snapshots()
    {
        _transcript.Host.UnreadableVolumes = [new("diary", "its keys were burned or never came back", false)];
        Assert.Equal(0, await _transcript.RunAsync("snapshots"));
        Assert.Equal("diary" + new string(' ', 45) + "(unreadable: its keys were burned or never came back)", _transcript.Data.Split('\n')[2]);
        await _transcript.RunAsync("snapshots", "--json");
        Assert.Equal("diary", Json().GetProperty("unreadableVolumes")[0].GetString());
        _transcript.Host.UnreadableVolumes = [new("diary", "block 12 is damaged", true)];
        Assert.Equal(1, await _transcript.RunAsync("snapshots"));
        await _transcript.RunAsync("snapshots", "photos");
        Assert.DoesNotContain("diary", _transcript.Data, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_listed_name_can_be_given_back_byte_for_byte()
    {
        byte[] name = [0x61, 0xFF, (byte)'\n'];
        _transcript.Host.Entries.Add(new EntryInfo { Path = name, Mode = 0x81A4, UserId = 1000, GroupId = 1000, User = "ann", Bytes = 5, ModifiedNs = 0, LinkTarget = null });
        await _transcript.RunAsync("ls", "latest");
        Assert.Equal("a\\xff\\n\n", _transcript.Data);
        _transcript.Host.Asked.Clear();
        await _transcript.RunAsync("ls", "latest", _transcript.Data.TrimEnd('\n'), "-l");
        Assert.Equal(name, Asked<byte[]>());
        Assert.StartsWith("-rw-r--r-- ann:1000", _transcript.Data, StringComparison.Ordinal);
        await _transcript.RunAsync("ls", "latest", "--json");
        Assert.Equal(name, Json().GetProperty("entries")[0].GetProperty("pathBytes").GetBytesFromBase64());
    }

    [Fact]
    public async Task Cat_writes_bytes_and_nothing_else()
    {
        Assert.Equal(0, await _transcript.RunAsync("cat", "latest", "a"));
        Assert.Equal("\u0001\0\uFFFD", _transcript.Data);
        Assert.Equal("", _transcript.Talk);
    }

    [Fact]
    public async Task Diff_marks_each_change()
    {
        await _transcript.RunAsync("diff", "a", "b");
        Assert.Equal("+ a\nM b\\xff  (1.00 KiB -> 2.00 KiB)\nm c\n", _transcript.Data);
        await _transcript.RunAsync("diff", "a", "b", "--json");
        Assert.Equal("added", Json().GetProperty("changes")[0].GetProperty("change").GetString());
    }

    [Fact]
    public async Task Restore_overwrites_only_when_told()
    {
        await _transcript.RunAsync("restore", "latest", "/back");
        Assert.Equal((Overwrite.Never, false), (Asked<RestoreRequest>().Overwrite, Asked<RestoreRequest>().Verify));
        _transcript.Host.Asked.Clear();
        await _transcript.RunAsync("restore", "latest", "/back", "--overwrite", "changed", "--verify", "--path", "a/b");
        RestoreRequest request = Asked<RestoreRequest>();
        Assert.Equal((Overwrite.Changed, true, "/back"), (request.Overwrite, request.Verify, request.Target));
        Assert.Equal("a/b"u8.ToArray(), request.Path);
    }

    [Fact]
    public async Task Debug_is_lines_or_one_json_object()
    {
        Assert.Equal(0, await _transcript.RunAsync("debug"));
        Assert.Equal("catalog\narena\n", _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("debug", "--json"));
        Assert.Equal(["catalog", "arena"], Json().GetProperty("structures").EnumerateArray().Select(static each => each.GetString()));

        _transcript.Host.Damage = ["arena 1: found x, expected y"];
        Assert.Equal(7, await _transcript.RunAsync("debug", "arena", "4f", "--names"));
        Assert.Equal("arena 4f with names clump count 3\nDAMAGED arena 1: found x, expected y\n", _transcript.Data);
        Assert.Equal(7, await _transcript.RunAsync("debug", "arena", "4f", "--json"));
        JsonElement page = Json();
        Assert.Equal(("arena", "4f", 1, false), (page.GetProperty("structure").GetString(), page.GetProperty("name").GetString(), page.GetProperty("damaged").GetInt32(), page.GetProperty("whole").GetBoolean()));
        JsonElement row = page.GetProperty("rows")[0];
        Assert.Equal(("arena", 0, false, 3), (row.GetProperty("kind").GetString(), row.GetProperty("depth").GetInt32(), row.GetProperty("withNames").GetBoolean(), row.GetProperty("clumpCount").GetInt32()));
        Assert.Equal("arena 1: found x, expected y", page.GetProperty("rows")[1].GetProperty("text").GetString());
    }

    [Fact]
    public async Task Damage_is_named_and_has_its_code()
    {
        _transcript.Host.Damage = ["fragment 3 of arena x"];
        foreach (string[] words in (string[][])[["check"], ["repair"], ["restore", "latest", "/x"], ["health", "latest"], ["debug", "catalog"]])
        {
            Assert.Equal(7, await _transcript.RunAsync(words));
        }

        await _transcript.RunAsync("check");
        Assert.Equal("damaged: fragment 3 of arena x\nNOT clean: 1 arena, 3 fragments, 9 blocks, 0 B read\n", _transcript.Data);
    }

    [Fact]
    public async Task What_an_import_could_not_read_is_shown_with_its_snapshot()
    {
        _transcript.Host.Snapshot = FakeHost.Usual with { UnreadableCount = 2, TornCount = 1 };
        await _transcript.RunAsync("snapshots");
        Assert.EndsWith("  summer (2 unreadable, 1 torn)\n", _transcript.Data, StringComparison.Ordinal);
        await _transcript.RunAsync("snapshots", "--json");
        JsonElement snapshot = Json().GetProperty("snapshots")[0];
        Assert.Equal((2, 0, 1), (snapshot.GetProperty("unreadable").GetInt64(), snapshot.GetProperty("vanished").GetInt64(), snapshot.GetProperty("torn").GetInt64()));
        Assert.Equal(0, await _transcript.RunAsync("ls", "latest"));
        Assert.Equal("tdfs: photos@3 is not all that was there: 2 unreadable, 1 torn when it was imported\n", _transcript.Talk);
    }

    [Fact]
    public async Task Snapshot_asks_for_a_volume_and_a_label_and_shows_what_was_made()
    {
        Assert.Equal(0, await _transcript.RunAsync("snapshot", "photos", "--label", "before"));
        Assert.Equal(("photos", "before"), Assert.Single(_transcript.Host.Asked));
        Assert.Equal(StoreAccess.Write, _transcript.Host.Access);
        Assert.Contains("photos@3", _transcript.Data, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rollback_says_where_the_present_is_kept()
    {
        Assert.Equal(0, await _transcript.RunAsync("rollback", "photos@3"));
        Assert.Equal("photos is again as in photos@3; as it was before it is kept as photos@4\n", _transcript.Data);
    }

    [Fact]
    public async Task A_burnable_volume_says_what_that_means_and_is_burned_with_yes_alone()
    {
        Assert.Equal(0, await _transcript.RunAsync("volume", "create", "--burnable", "diary"));
        Assert.Contains("The 24 words do NOT bring it back", _transcript.Data, StringComparison.Ordinal);
        Assert.Equal(2, await _transcript.RunAsync("volume", "burn", "diary"));
        Assert.Equal("tdfs: nothing brings diary back once it is burned, expected --yes\n", _transcript.Talk);
        Assert.Equal([("burnable", "diary")], _transcript.Host.Asked);
        Assert.Equal(0, await _transcript.RunAsync("volume", "burn", "diary", "--yes"));
        Assert.StartsWith($"diary is burned: its keys are erased here, and {TokTok.Storage.Tdfs.Output.Show.Size(4096)} are free.", _transcript.Data, StringComparison.Ordinal);
        _transcript.Host.Problems = ["/s/keyring.before-1"];
        Assert.Equal(1, await _transcript.RunAsync("volume", "burn", "diary", "--yes"));
        Assert.Equal("tdfs: /s/keyring.before-1 is an older keyring, which may have the keys still; delete it\n", _transcript.Talk);
    }

    [Fact]
    public async Task Volumes_are_listed_made_and_renamed()
    {
        _transcript.Host.Damage = ["broken"];
        Assert.Equal(1, await _transcript.RunAsync("volume", "list"));
        Assert.Contains("photos          3  ", _transcript.Data, StringComparison.Ordinal);
        Assert.Contains("/mnt\n", _transcript.Data, StringComparison.Ordinal);
        Assert.EndsWith("(unreadable: broken)\n", _transcript.Data, StringComparison.Ordinal);
        Assert.Equal(0, await _transcript.RunAsync("volume", "create", "work"));
        Assert.Equal(0, await _transcript.RunAsync("volume", "rename", "work", "archive"));
        Assert.Equal(["work", ("work", "archive")], _transcript.Host.Asked);
    }

    [Fact]
    public async Task Mark_names_what_it_marked_and_takes_marks_away()
    {
        Assert.Equal(0, await _transcript.RunAsync("mark", "photos@3", "summer"));
        Assert.Equal(("photos@3 summer", true), Asked<(string, bool)>());
        Assert.EndsWith("  summer (kept)\nmarked 1 snapshot\n", _transcript.Data, StringComparison.Ordinal);
        _transcript.Host.Asked.Clear();
        Assert.Equal(0, await _transcript.RunAsync("mark", "--off", "photos@3", "--json"));
        Assert.Equal(("photos@3", false), Asked<(string, bool)>());
        Assert.False(Json().GetProperty("snapshots")[0].GetProperty("kept").GetBoolean());
    }

    [Fact]
    public async Task Forget_takes_rules_from_the_file_and_from_the_line()
    {
        await _transcript.RunAsync("forget", "--keep-daily", "7");
        Assert.Equal((0, 7), (Asked<ForgetRequest>().Keep!.Last, Asked<ForgetRequest>().Keep!.Daily));
        _transcript.Host.Asked.Clear();
        await _transcript.RunAsync("forget", "--keep", "--keep-daily", "30");
        Assert.Equal((3, 30, 10), (Asked<ForgetRequest>().Keep!.Last, Asked<ForgetRequest>().Keep!.Daily, Asked<ForgetRequest>().Keep!.Yearly));
    }

    [Fact]
    public async Task Redundancy_is_shown_set_and_unset_without_opening_the_store()
    {
        await _transcript.RunAsync("redundancy", "show");
        Assert.Equal("4+2: survives the loss of any 2 of 6 places, as storage.toml says\n", _transcript.Data);
        await _transcript.RunAsync("redundancy", "show", "/p");
        Assert.Equal("4+2: survives the loss of any 2 of 6 places, as /p asks (survive=3)\n", _transcript.Data);
        Assert.Equal("tdfs: too few places\n", _transcript.Talk);
        await _transcript.RunAsync("redundancy", "set", "/p", "2+1");
        Assert.Equal(("/p", "2+1"), Asked<(string, string?)>());
        _transcript.Host.Asked.Clear();
        await _transcript.RunAsync("redundancy", "unset", "/p");
        Assert.Equal(("/p", null), Asked<(string, string?)>());
        Assert.Null(_transcript.Host.Access);
    }

    [Fact]
    public async Task Status_shows_missing_holders_and_a_keyring_without_passphrase()
    {
        await _transcript.RunAsync("status");
        Assert.Contains("WITHOUT a passphrase", _transcript.Data);
        Assert.Contains("MISSING", _transcript.Data);
        Assert.Contains("waiting for device 2", _transcript.Data);
    }

    [Fact]
    public async Task A_full_disk_is_one_line_and_its_code()
    {
        _transcript.Host.Fails = new DiskException(DiskFailure.Full, "write", "/s/journal", "No space left on device");
        Assert.Equal(8, await _transcript.RunAsync("import", "/x"));
        Assert.StartsWith("tdfs: write /s/journal: No space left on device", _transcript.Talk, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("bash", "complete -o default -F _tdfs tdfs")]
    [InlineData("zsh", "compdef _tdfs tdfs")]
    [InlineData("fish", "complete -c tdfs")]
    public async Task Completion_scripts_ask_tdfs(string shell, string expected)
    {
        Assert.Equal(0, await _transcript.RunAsync("completion", shell));
        Assert.Contains(expected, _transcript.Data);
        Assert.Contains("[suggest:", _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("[suggest:8]", "tdfs sna"));
        Assert.Contains("snapshots\n", _transcript.Data);
    }

    /// <summary>Where tdfs gives nothing the shell offers files, so options for an empty word would hide them.</summary>
    [Theory]
    [InlineData("tdfs import ", "")]
    [InlineData("tdfs restore latest ", "")]
    [InlineData("tdfs restore latest /ba", "")]
    [InlineData("tdfs import --v", "--volume")]
    [InlineData("tdfs import x --w", "--workers")]
    [InlineData("tdfs restore latest x --overwrite ", "always changed never")]
    [InlineData("tdfs agent ", "lock status stop")]
    [InlineData("tdfs completion ", "bash fish zsh")]
    [InlineData("tdfs completion -", "--config --help --json --json-progress --no-progress --passphrase-fd --quiet --store -h -q")]
    [InlineData("tdfs rec", "reclaim recover")]
    public async Task Completion_offers_options_to_a_word_that_begins_as_one(string line, string expected)
    {
        Assert.Equal(0, await _transcript.RunAsync($"[suggest:{line.Length}]", line));
        Assert.Equal(expected, string.Join(' ', _transcript.Data.Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        Assert.Equal(0, await _transcript.RunAsync($"[suggest:{line.Length}]", line + " --what-follows-the-cursor"));
        Assert.Equal(expected, string.Join(' ', _transcript.Data.Split('\n', StringSplitOptions.RemoveEmptyEntries)));
    }

    [Fact]
    public async Task Agent_says_when_nothing_runs()
    {
        Assert.Equal(0, await _transcript.RunAsync("agent", "status"));
        Assert.Equal("locked: the agent holds no keyring\n", _transcript.Data);
        Assert.Equal(0, await _transcript.RunAsync("agent", "lock", "--quiet"));
        Assert.Equal("", _transcript.Talk);
        Assert.Equal(0, await _transcript.RunAsync("agent", "stop"));
        Assert.Equal(("", "stopped already: no agent runs\n"), (_transcript.Data, _transcript.Talk));
    }

    [Theory]
    [InlineData("status", "running")]
    [InlineData("lock", "wasUnlocked")]
    [InlineData("stop", "wasRunning")]
    public async Task Agent_answers_in_JSON_too(string verb, string property)
    {
        Assert.Equal(0, await _transcript.RunAsync("agent", verb, "--json"));
        Assert.False(Json().GetProperty(property).GetBoolean());
        Assert.Equal("", _transcript.Talk);
    }
}
