using System.Text;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Commands;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Tests.Commands;

/// <summary>Runs a line of words against a store that only remembers what it was asked and answers what the test put in.</summary>
internal sealed class Transcript : IDisposable
{
    private readonly string _home = Directory.CreateTempSubdirectory("tdfs-command-").FullName;

    public FakeHost Host { get; } = new();

    public string Data { get; private set; } = "";

    public string Talk { get; private set; } = "";

    public string Home => _home;

    /// <summary>Null: talk goes to no terminal.</summary>
    public Func<int>? TerminalWidth { get; set; }

    public void Dispose() => Directory.Delete(_home, recursive: true);

    public async Task<int> RunAsync(params string[] words) => await RunAsync(Host, words);

    public async Task<int> RunAsync(IStoreHost? host, string[] words)
    {
        using MemoryStream bytes = new();
        using StreamWriter data = new(bytes, new UTF8Encoding(false)) { NewLine = "\n" };
        StringWriter talk = new() { NewLine = "\n" };
        Dictionary<string, string> environment = new() { ["HOME"] = _home, ["XDG_RUNTIME_DIR"] = _home };
        VerbContext context = new()
        {
            Output = new CommandOutput { Data = data, DataBytes = bytes, Talk = talk, Clock = new Agent.TwoClocks(), Zone = TimeZoneInfo.Utc, TerminalWidth = TerminalWidth },
            Environment = environment.GetValueOrDefault,
            Host = host,
            Terminal = "/nowhere/tty",
        };
        int code = await CommandTree.RunAsync(context, words, TestContext.Current.CancellationToken);
        data.Flush();
        Data = Encoding.UTF8.GetString(bytes.ToArray());
        Talk = talk.ToString();
        return code;
    }
}

internal sealed class FakeHost : IStoreHost, IStoreSession, IStoreCare, IVolumes, IMounts, IWebDav, IPeers, IAudits, IDevices, IFreed
{
    public SnapshotInfo Snapshot { get; set; } = Usual;

    public static readonly SnapshotInfo Usual = new() { Volume = "photos", Number = 3, TimeNs = 1795235405_000000000, Host = "box", Label = "summer", EntryCount = 12, Bytes = 2048 };

    public List<object> Asked { get; } = [];

    public StoreAccess? Access { get; private set; }

    public Exception? Fails { get; set; }

    public IReadOnlyList<string> Problems { get; set; } = [];

    public IReadOnlyList<string> Damage { get; set; } = [];

    public List<EntryInfo> Entries { get; } = [];

    public IStoreCare Care => this;

    public IVolumes Volumes => this;

    public IMounts Mounts => this;

    public IWebDav WebDav => this;

    public IPeers Peers => this;

    public IAudits Audits => this;

    public IFreed Freed => this;

    public StoreEvidence Evidence { get; set; } = new(0, 0, 0);

    public AuditInfo Audit { get; set; } = new(
        "bob", 64, 0, 0,
        new PeerEvidence { Standing = HolderStanding.Good, Passed = 70, Failed = 1, TruthPercent = 81.25, UptimePercent = 99.5, HeardAtSeconds = 1_795_235_405, ProvenAtSeconds = 1_795_235_405 });

    public ValueTask<IReadOnlyList<AuditInfo>> RunAsync(string? peer, int count, CancellationToken cancel) => Asking((peer, count), (IReadOnlyList<AuditInfo>)[Audit]);

    public IDevices Devices => this;

    public DeviceStatus Device { get; set; } = new() { Number = 2, Name = "desk", State = "active", EnrolledAtSeconds = 1_795_000_000, LastSeen = new DateOnly(2026, 11, 20), UnseenBytes = 3 << 20 };

    public string? Joined { get; set; } = "desk";

    ValueTask<IReadOnlyList<DeviceStatus>> IDevices.ListAsync(CancellationToken cancel) => Asking<IReadOnlyList<DeviceStatus>>("device list", [Device]);

    public ValueTask<OfferResult> OfferAsync(TimeSpan validFor, CancellationToken cancel) =>
        Asking(("offer", validFor), new OfferResult("tdfs-000000", 1_795_235_405, 2, ["192.0.2.1:4919"], ["/mnt/blue"]));

    public ValueTask<string?> WaitAsync(OfferResult offer, CancellationToken cancel) => Asking("wait", Joined);

    public ValueTask<DeviceStatus> RetireAsync(string device, CancellationToken cancel) => Asking(("retire", device), Device with { State = "retired", Adopter = 1 });

    ValueTask<DeviceStatus> IDevices.RevokeAsync(string device, CancellationToken cancel) => Asking(("revoke device", device), Device with { State = "revoked", Adopter = 1, Untold = ["peer bob (192.0.2.7:4919): nothing listens there"] });

    public ValueTask<IReadOnlyList<string>> WaitingForAsync(CancellationToken cancel) => ValueTask.FromResult<IReadOnlyList<string>>([]);

    public ValueTask<JoinResult> JoinAsync(JoinRequest request, CancellationToken cancel) => Asking(request, new JoinResult(2, "desk", 3, 5, 7));

    public PeerInfo Peer { get; set; } = new()
    {
        Name = "bob", Place = "hill", Fingerprint = "0011223344556677", Addresses = ["192.0.2.7:4919"], KeptForItBytes = 1 << 30, KeptForUsBytes = 2L << 30,
        SendRate = 0, ReceiveRate = 0, RelayADayBytes = 0, IsRevoked = false, EndsAtSeconds = 0, HasEnded = false, UsedBytes = 5 << 20, ReleasedBytes = 0, AbsenceForUsDays = 365,
    };

    public IReadOnlyList<string> DebugStructures => ["catalog", "arena"];

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    public ValueTask<InitResult> InitAsync(StorageConfig config, SecretBuffer passphrase, CancellationToken cancel) =>
        ValueTask.FromResult(new InitResult(SecretBuffer.Copy("abandon ability able about above absent absorb abstract"u8)) { StorePath = config.StorePath, Holders = [new HolderConfig { Path = "/h", Place = "here" }], RedundancyClass = "16+1" });

    public ValueTask<IStoreSession> OpenAsync(OpenRequest request, CancellationToken cancel)
    {
        Access = request.Access;
        return Fails is null ? ValueTask.FromResult<IStoreSession>(this) : ValueTask.FromException<IStoreSession>(Fails);
    }

    public RedundancyInfo Redundancy(StorageConfig config, string? folder) => new()
    {
        Survive = 2, PlaceCount = 6, RedundancyClass = "4+2", Wish = folder is null ? null : "survive=3", From = folder, Problem = folder is null ? null : "too few places",
    };

    public RedundancyInfo SetRedundancy(StorageConfig config, string folder, string? wanted)
    {
        Asked.Add((folder, wanted));
        return new() { Survive = 2, PlaceCount = 6, RedundancyClass = "4+2", Wish = wanted, From = wanted is null ? null : folder };
    }

    public ValueTask<RecoverResult> RecoverAsync(RecoverRequest request, IProgressSink progress, CancellationToken cancel) => Asking(request, new RecoverResult(2, 5, 7, Problems));

    public ValueTask<IPeers> PeersAsync(OpenRequest request, CancellationToken cancel) => ValueTask.FromResult<IPeers>(this);

    public ValueTask<RepairExportResult> ExportRepairAsync(string peer, string path, CancellationToken cancel) =>
        Asking(("export", peer, Path.GetFileName(path)), new RepairExportResult(peer, "/x/bob.repair", 5, 3, 4096, Problems));

    public ValueTask<RepairRevokeResult> RevokeRepairAsync(string name, CancellationToken cancel) => Asking(("revoke repair", name), new RepairRevokeResult(name, 3, Problems));

    public ValueTask<RepairForResult> RepairForAsync(string path, bool movesAbsent, IProgressSink progress, CancellationToken cancel) =>
        Asking(("repair for", Path.GetFileName(path), movesAbsent), new RepairForResult("ann", 5, 3, 2, 7, 8192, Damage, Problems));

    public ValueTask<InviteResult> InviteAsync(InviteRequest request, CancellationToken cancel) =>
        Asking(request, new InviteResult("tdfs-000000", 1_795_235_405, request.KeptBytes ?? 1 << 30, ["192.0.2.1:4919"]));

    public ValueTask<PeerInfo> AcceptAsync(AcceptRequest request, CancellationToken cancel) => Asking(request, Peer);

    public ValueTask<PeerListing> ListAsync(CancellationToken cancel) => Asking("peer list", new PeerListing([Peer], 1));

    public ValueTask<PeerInfo> SetAsync(SetPeerRequest request, CancellationToken cancel) => Asking(request, Peer);

    public ValueTask<PeerInfo> RevokeAsync(string name, CancellationToken cancel) => Asking(("revoke", name), Peer);

    public ValueTask<PeerInfo> StayAsync(string name, CancellationToken cancel) => Asking(("stay", name), Peer);

    public ValueTask<LeaveResult> LeaveAsync(string peer, IProgressSink progress, CancellationToken cancel) => Asking(("leave", peer), new LeaveResult(Peer, 1 << 20, null));

    public ValueTask ForgiveAsync(string name, CancellationToken cancel)
    {
        Asked.Add(("forgive", name));
        return ValueTask.CompletedTask;
    }

    public ValueTask<long> CancelReleasesAsync(string name, CancellationToken cancel) => Asking(("cancel", name), 3L);

    public ValueTask ServeAsync(Action<System.Net.IPEndPoint> serving, CancellationToken cancel)
    {
        Asked.Add("node");
        serving(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 4919));
        return ValueTask.CompletedTask;
    }

    public void Dispose()
    {
    }

    public ValueTask CreateBurnableAsync(OpenRequest request, string volume, CancellationToken cancel)
    {
        Asked.Add(("burnable", volume));
        return ValueTask.CompletedTask;
    }

    public ValueTask<BurnResult> BurnAsync(OpenRequest request, string volume, CancellationToken cancel) => Asking(("burn", volume), new BurnResult(4096, Problems));

    public ValueTask GreetAsync(CancellationToken cancel) => ValueTask.CompletedTask;

    public StoreStatus Status() => new()
    {
        StorePath = "/s", RedundancyClass = "2+1", SurvivablePlaceCount = 1, HasPassphrase = false, ArenaCount = 4, StoredBytes = 4096, ParityBytes = 2048, JournalBytes = 1, TrashBytes = 0,
        WaitingFor = ["device 2"], VolumeCount = 1, Holders = [new HolderStatus("/h", "here", false, 10, null, 20)],
        Evidence = Evidence,
    };

    public ValueTask<CheckResult> CheckAsync(bool readAll, IProgressSink progress, CancellationToken cancel) =>
        Asking(readAll, new CheckResult { ArenaCount = 1, FragmentCount = 3, BlockCount = 9, ReadBytes = 0, Damaged = Damage, UnreadablePaths = [] });

    public ValueTask<RepairResult> RepairAsync(IProgressSink progress, CancellationToken cancel) => ValueTask.FromResult(new RepairResult(2, 100, Damage));

    public ValueTask<ReclaimResult> ReclaimAsync(bool dryRun, IProgressSink progress, CancellationToken cancel) => Asking(dryRun, new ReclaimResult(1, 2, 3, 4, []));

    public ValueTask<ReindexResult> ReindexAsync(IProgressSink progress, CancellationToken cancel) => ValueTask.FromResult(new ReindexResult(1, 2));

    public ValueTask DebugAsync(string structure, string? name, bool withNames, DebugPage page, CancellationToken cancel)
    {
        page.Row(structure, DebugField.Bare("name", name), ("with names", withNames), ("clump count", 3));
        foreach (string damage in Damage)
        {
            page.Damaged(damage);
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask<ImportResult> ImportAsync(ImportRequest request, IProgressSink progress, CancellationToken cancel) =>
        Asking(request, new ImportResult { Snapshot = Snapshot, FileCount = 12, UnchangedFileCount = 2, ReadBytes = 2048, SavedBytes = 1024, StoredBytes = 512, Problems = Problems });

    public ValueTask<IReadOnlyList<SnapshotInfo>> SnapshotsAsync(string? volume, CancellationToken cancel) => Asking<IReadOnlyList<SnapshotInfo>>(volume ?? "all", [Snapshot]);

    public ValueTask<SnapshotInfo> SnapshotAsync(string snapshot, CancellationToken cancel) => ValueTask.FromResult(Snapshot);

    public IReadOnlyList<UnreadableVolume> UnreadableVolumes { get; set; } = [];

    public IAsyncEnumerable<LogEntry> LogAsync(string volume, byte[] path, CancellationToken cancel) => Many([new LogEntry(Snapshot, ChangeKind.Added, 5)]);

    public IAsyncEnumerable<EntryInfo> ListAsync(string snapshot, byte[] path, bool recursive, CancellationToken cancel)
    {
        Asked.Add(path);
        return Many(Entries);
    }

    public async ValueTask CatAsync(string snapshot, byte[] path, Stream target, CancellationToken cancel) => await target.WriteAsync((byte[])[1, 0, 255], cancel);

    public IAsyncEnumerable<ChangeInfo> DiffAsync(string from, string to, byte[] path, CancellationToken cancel) => Many(
        [new ChangeInfo(ChangeKind.Added, "a"u8.ToArray(), 0, 1), new ChangeInfo(ChangeKind.Changed, [0x62, 0xFF], 1024, 2048), new ChangeInfo(ChangeKind.Metadata, "c"u8.ToArray(), 1, 1)]);

    public ValueTask<RestoreResult> RestoreAsync(RestoreRequest request, IProgressSink progress, CancellationToken cancel) => Asking(request, new RestoreResult(3, 4096, 1, Problems, Damage));

    public ValueTask<IReadOnlyList<SnapshotInfo>> MarkAsync(IReadOnlyList<string> snapshots, bool isMarked, CancellationToken cancel) =>
        Asking<IReadOnlyList<SnapshotInfo>>((string.Join(' ', snapshots), isMarked), [Snapshot with { IsKept = isMarked }]);

    public ValueTask<MountResult> ServeAsync(MountRequest request, Action<string, string> mounted, CancellationToken cancel)
    {
        mounted(request.Volume ?? "photos", request.Folder);
        return Asking(request, new MountResult(request.Volume ?? "photos", request.Folder, WasInUse: request.Creates));
    }

    public ValueTask<IReadOnlyList<string>> ServeAsync(WebDavRequest request, Action<WebDavAddress> serving, CancellationToken cancel)
    {
        IReadOnlyList<string> volumes = request.Volumes.Count == 0 ? ["photos"] : request.Volumes;
        serving(new WebDavAddress(volumes, new Uri($"http://{request.Endpoint}/"), "secret"u8.ToArray(), "/store/webdav-token"));
        return Asking(request, volumes);
    }

    public ValueTask<SnapshotInfo> TakeAsync(string? volume, string? label, CancellationToken cancel) => Asking((volume, label), Snapshot);

    public ValueTask<IReadOnlyList<SnapshotInfo>> TakeDueAsync(TokTok.Storage.Files.KeepRules? thin, CancellationToken cancel) => Asking<IReadOnlyList<SnapshotInfo>>(("due", thin is not null), [Snapshot]);

    public ValueTask<RollBackResult> RollBackAsync(string snapshot, CancellationToken cancel) => Asking(snapshot, new RollBackResult(Snapshot, Snapshot with { Number = 4 }));

    public ValueTask<IReadOnlyList<VolumeInfo>> VolumesAsync(CancellationToken cancel) => ValueTask.FromResult<IReadOnlyList<VolumeInfo>>(
        [new VolumeInfo { Name = "photos", SnapshotCount = 3, NewestNs = Snapshot.TimeNs, EntryCount = 12, Bytes = 2048, Where = "/mnt" }, .. Damage.Select(static why => new VolumeInfo { Name = "gone", Problem = why, IsDamaged = true })]);

    public ValueTask CreateAsync(string name, CancellationToken cancel)
    {
        Asked.Add(name);
        return ValueTask.CompletedTask;
    }

    public ValueTask RenameAsync(string name, string newName, CancellationToken cancel)
    {
        Asked.Add((name, newName));
        return ValueTask.CompletedTask;
    }

    public ValueTask<ForgetResult> ForgetAsync(ForgetRequest request, CancellationToken cancel) => Asking(request, new ForgetResult([], [Snapshot]));

    public IReadOnlyList<FreedInfo> List() => [new FreedInfo("photos", "2019"u8.ToArray(), 1_795_235_405), new FreedInfo("work", [], 1_795_235_405)];

    public ValueTask<FreeResult> FreeAsync(string snapshot, byte[] path, bool dryRun, IProgressSink progress, CancellationToken cancel) => Asking(
        ("free", snapshot, Encoding.UTF8.GetString(path), dryRun),
        new FreeResult { Volume = "photos", Path = path, MovedBytes = 5 << 20, AwayBytes = 1 << 20, SharedBytes = 2048, OthersBytes = 1024, LocalBytes = 4 << 20, TrashedBytes = dryRun ? 0 : 3 << 20, TrashDays = 7, Problems = Problems });

    public ValueTask<FreeResult> KeepAsync(string snapshot, byte[] path, IProgressSink progress, CancellationToken cancel) =>
        Asking(("keep", snapshot, Encoding.UTF8.GetString(path)), new FreeResult { Volume = "photos", Path = path, MovedBytes = 5 << 20, Problems = Problems });

    public ValueTask<(string Snapshot, byte[] Path)> WhereIsAsync(string local, CancellationToken cancel) => Asking<(string, byte[])>(local, ("v@1", []));

    public ValueTask<HealthInfo> HealthAsync(string snapshot, byte[] path, bool readAll, IProgressSink progress, CancellationToken cancel) =>
        ValueTask.FromResult(new HealthInfo { FileCount = 1, BlockCount = 2, HealthyBlockCount = 1, DegradedBlockCount = 1, LostBlockCount = Damage.Count, LostPaths = Damage, Evidence = Evidence });

    private ValueTask<T> Asking<T>(object asked, T answer)
    {
        Asked.Add(asked);
        return ValueTask.FromResult(answer);
    }

    private static async IAsyncEnumerable<T> Many<T>(IEnumerable<T> items)
    {
        await Task.CompletedTask;
        foreach (T item in items)
        {
            yield return item;
        }
    }
}
