using System.Text;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Tdfs.Agent;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The one place that puts Core, Blocks and Files together: makes, opens and recovers stores on this machine's disks.</summary>
/// <remarks>
/// The state folder is [store] path: keyring, catalog/, journal/, index/, caches/ and the writer's lock. Order at init: holders, then the first catalog and anchor,
/// then the keyring, whose rename makes the store exist; a crash before leaves nothing that a second init does not replace.
/// </remarks>
internal sealed partial class StoreHost(IDisk disk, IRandomSource random, TimeProvider clock, Func<string, string?> environment, Action<string> say) : IStoreHost
{
    private const int MaxKeyringBytes = Keyring.MaximumMessageBytes + 4096;
    private const uint FirstDevice = 1;

    /// <summary>How often it is looked whether another writer has let go of the store: oftener than reclaim pauses.</summary>
    private static readonly TimeSpan s_lockTurn = WriterTurns.Pause / 5;

    public async ValueTask<InitResult> InitAsync(StorageConfig config, SecretBuffer passphrase, CancellationToken cancel)
    {
        string keyringPath = KeyringPath(config.StorePath);
        if (disk.FileExists(config.StorePath))
        {
            throw new UserError(ExitCode.Exists, $"{config.StorePath}: found a file, expected a folder or nothing; name another with --store");
        }

        if (disk.FileExists(keyringPath))
        {
            throw new UserError(ExitCode.Exists, $"{config.StorePath} holds a store already; name another folder with --store, or use the one there");
        }

        var words = new SecretBuffer(Words.MaxTextBytes);
        using AccountKeys account = MakeAccount(words);

        disk.CreateDirectory(config.StorePath);
        IReadOnlyList<HolderConfig> holders = HoldersOf(config);
        foreach (HolderConfig holder in holders)
        {
            if (config.Countries.Allows(holder.Country) && !disk.FileExists(holder.Path + "/holder"))
            {
                FolderHolder.Create(disk, holder.Path, random).Dispose();
            }
        }

        using Keyring keyring = Keyring.Create(account, FirstDevice, DeviceName(), clock.GetUtcNow().ToUnixTimeSeconds(), random);
        keyring.Add(KeyDomain.Create(DomainKind.Realm, random));
        string redundancy;
        BlockStore store = await OpenStoreAsync(config, keyring, Facades.StoreAccess.Write, "init", NewHolders.None, mustExist: false, cancel).ConfigureAwait(false);
        await using (store.ConfigureAwait(false))
        {
            redundancy = ClassText(store);
            await store.PublishAsync(cancel).ConfigureAwait(false);
        }

        LetGoOfHolders(store);
        LockKeyring(config, keyring, passphrase);
        return new InitResult(words) { StorePath = config.StorePath, Holders = holders, RedundancyClass = redundancy };
    }

    public async ValueTask<IStoreSession> OpenAsync(OpenRequest request, CancellationToken cancel)
    {
        StorageConfig config = request.Config;
        (Keyring keyring, KeyringHeader header, SecretBytes unlockKey) = Unlock(config, request.Passphrases, cancel);
        bool hasPassphrase = header.Mode == KeyringMode.Passphrase;
        try
        {
            var turns = new WriterTurns(OpenWriterAsync, LetGoOfHolders, clock);
            if (request.Access == Facades.StoreAccess.WriteInTurns)
            {
                await turns.TryAsync(cancel).ConfigureAwait(false);
            }

            Facades.StoreAccess access = request.Access is Facades.StoreAccess.Write or Facades.StoreAccess.Serve ? Facades.StoreAccess.Write : Facades.StoreAccess.Read;
            NewHolders newHolders = access == Facades.StoreAccess.Read ? NewHolders.None : request.ReplacesAbsentHolders ? NewHolders.Replace : NewHolders.Add;
            BlockStore store = await OpenStoreAsync(config, keyring, access, request.Verb, newHolders, mustExist: true, cancel, keep: Keep).ConfigureAwait(false);
            var session = new StoreSession(store, keyring, unlockKey, config, disk, hasPassphrase, random, clock, turns, say);
            if (request.Access == Facades.StoreAccess.Serve)
            {
                session.Listen(environment, cancel);
            }

            return session;

            ValueTask<BlockStore> OpenWriterAsync(bool waits, CancellationToken token) =>
                OpenStoreAsync(config, keyring, Facades.StoreAccess.Write, request.Verb, NewHolders.Add, mustExist: true, token, waitsForAll: waits, keep: Keep);

            void Keep(KeyDomain domain) => KeepEpochs(config, unlockKey, domain);
        }
        catch
        {
            keyring.Dispose();
            unlockKey.Dispose();
            throw;
        }
    }

    public ValueTask<IPeers> PeersAsync(OpenRequest request, CancellationToken cancel)
    {
        (Keyring keyring, KeyringHeader _, SecretBytes unlockKey) = Unlock(request.Config, request.Passphrases, cancel);
        unlockKey.Dispose();
        return ValueTask.FromResult<IPeers>(new StorePeers(request.Config, keyring, ownsKeyring: true, disk, random, clock, say));
    }

    public RedundancyInfo Redundancy(StorageConfig config, string? folder) => new FolderRedundancy(config).Show(folder);

    public RedundancyInfo SetRedundancy(StorageConfig config, string folder, string? wanted) => new FolderRedundancy(config).Set(folder, wanted);

    public async ValueTask<RecoverResult> RecoverAsync(RecoverRequest request, IProgressSink progress, CancellationToken cancel)
    {
        StorageConfig config = request.Config;
        if (!request.IsDrill && disk.FileExists(KeyringPath(config.StorePath)) && HasFiles(config.StorePath + "/catalog"))
        {
            throw new UserError(ExitCode.Exists, $"{config.StorePath} holds a store already; move it away, or try 'tdfs recover --drill'");
        }

        AccountKeys account = AccountOf(request.Words.Bytes);
        using (account)
        {
            var problems = new List<string>();
            List<ConfiguredHolder> holders = OpenFolders(config, Facades.StoreAccess.Read);
            problems.AddRange(holders.Where(static holder => holder.Problem is not null).Select(static holder => $"holder {holder.Address}: {holder.Problem}"));
            using PeerHolder? peer = request.PeerAddress is { } address ? await MeetAsync(account, address, cancel).ConfigureAwait(false) : null;
            if (peer is null)
            {
                ConfiguredHolder.RequireOne(holders);
            }

            IFragmentHolder[] reachable = [.. holders.Where(static holder => holder.Holder is not null).Select(static holder => holder.Holder!), .. peer is null ? [] : (IFragmentHolder[])[peer]];
            FoundAccount found = await AccountFinder.FindAsync(account, reachable, problems.Add, cancel).ConfigureAwait(false)
                ?? throw new UserError(
                    ExitCode.Keys, $"none of {reachable.Length} holders knows an account of these words; check the words, and the holders in {config.File}{(problems.Count > 0 ? $" (found besides: {problems[0]})" : "")}");
            // The lost device's number goes on under another incarnation: should the lost machine write again, that is another line, and nothing of it is overwritten.
            // Where there are several, or the user says so, nobody can tell which of them this machine was, and the others may live: it is another one.
            bool isNew = request.AsNewDevice || found.Certificates.Select(static certificate => certificate.DeviceNumber).Distinct().Count() > 1;
            uint device = isNew ? NextDevice(found) : found.Anchor?.Device ?? found.Devices.DefaultIfEmpty(FirstDevice).First();
            using Keyring keyring = Keyring.Create(account, device, request.DeviceName ?? DeviceName(), clock.GetUtcNow().ToUnixTimeSeconds(), random);
            foreach (KeyDomain domain in found.Domains)
            {
                keyring.Add(domain);
            }

            StorageConfig target = request.IsDrill ? config with { StorePath = DrillFolder(), Holders = HoldersOf(config) } : config;
            try
            {
                disk.CreateDirectory(target.StorePath);
                if (isNew && !request.IsDrill)
                {
                    BeginJoin(target);
                }

                await WritePeersAsync(target, keyring, found.Anchor?.Holders ?? [], peer, request.PeerAddress, cancel).ConfigureAwait(false);
                BlockStore store = await OpenStoreAsync(target, keyring, request.IsDrill ? Facades.StoreAccess.Read : Facades.StoreAccess.Write, "recover", request.AsNewDevice ? NewHolders.Replace : NewHolders.None, mustExist: false, cancel, isRehearsal: request.IsDrill).ConfigureAwait(false);
                await using (store.ConfigureAwait(false))
                {
                    await store.AdoptUnknownAsync(cancel).ConfigureAwait(false);
                    store.AdoptHeads(found.Anchor?.Heads ?? [], found.Certificates);
                    if (store.AdoptedCount > 0 || !store.WasCatalogFound)
                    {
                        int rebuilt = await new HeadFinder(store).AdoptAsync(cancel).ConfigureAwait(false);
                        if (rebuilt > 0)
                        {
                            problems.Add($"{rebuilt} volumes were found by their roots alone: no catalog or anchor named them, and nothing says whether a later state was lost");
                        }
                    }

                    if (!request.IsDrill)
                    {
                        await store.PublishAsync(cancel).ConfigureAwait(false);
                        LockKeyring(target, keyring, request.NewPassphrase);
                        if (isNew)
                        {
                            disk.Delete(target.StorePath + "/" + JoinNote);
                            say($"this machine is device {device} ({keyring.DeviceName}) of {(await store.DevicesAsync(cancel).ConfigureAwait(false)).Count}; one that was lost holds up reclaim until 'tdfs device retire'");
                        }
                    }

                    StoreVolumes volumes = VolumesOf(store, keyring, target);
                    long snapshots = (await volumes.SnapshotsAsync(null, cancel).ConfigureAwait(false)).Count;
                    problems.AddRange(volumes.UnreadableVolumes.Select(static volume => $"volume {volume.Name} cannot be read: {volume.Why}"));

                    // Finding is not proving: a drill looks at every fragment, and walks every tree that a head names.
                    CheckResult? proof = request.IsDrill
                        ? await new StoreCare(store, keyring, target, disk, hasPassphrase: false, new TreeWalker(), static (_, _) => throw new InvalidOperationException("a recovery reclaims nothing")).CheckAsync(request.ReadAll, progress, cancel).ConfigureAwait(false)
                        : null;
                    return new RecoverResult(Math.Max(reachable.Length, store.Holders.Count(static holder => holder.Holder is not null)), store.Catalog.Arenas().Count, snapshots, problems) { Proof = proof };
                }
            }
            finally
            {
                if (request.IsDrill)
                {
                    disk.DeleteDirectory(target.StorePath);
                }
            }
        }
    }

    private AccountKeys MakeAccount(SecretBuffer words)
    {
        using var entropy = SecretBytes.Random(random, Words.EntropySize);
        words.Length = Words.Write(entropy.Span, words.Room);
        return AccountKeys.FromEntropy(entropy.Span);
    }

    private static AccountKeys AccountOf(ReadOnlySpan<byte> words)
    {
        char[] text = GC.AllocateArray<char>(Encoding.UTF8.GetMaxCharCount(words.Length), pinned: true); // what the collector moves leaves a copy behind
        try
        {
            int count = Encoding.UTF8.GetChars(words, text);
            return AccountKeys.TryFromWords(text.AsSpan(0, count), out AccountKeys? account, out string? error) ? account : throw new UserError(ExitCode.Keys, error);
        }
        finally
        {
            Array.Clear(text);
        }
    }

    internal static string ClassText(BlockStore store) =>
        store.Placement.ClassFor(store.DefaultSurvive) is { } redundancy ? $"{redundancy.Data}+{redundancy.Parity}" : "none: " + store.Placement.CannotSurvive(store.DefaultSurvive);

    internal static IReadOnlyList<HolderConfig> HoldersOf(StorageConfig config) =>
        config.Holders.Count > 0 ? config.Holders : [new HolderConfig { Path = config.StorePath + "/fragments", Place = "here" }];

    private StoreVolumes VolumesOf(BlockStore store, Keyring keyring, StorageConfig config) =>
        new(store, config, disk, config.StorePath + "/caches", keyring.CacheKey, random, clock);

    private static string DrillFolder() => Path.Join(Path.GetTempPath(), $"tdfs-drill-{Environment.ProcessId}");

    private static string DeviceName() => Environment.MachineName is { Length: > 0 and <= 63 } name ? name : "device";

    private static string KeyringPath(string store) => store + "/keyring";

    private bool HasFiles(string folder) => disk.DirectoryExists(folder) && disk.List(folder).Count > 0;

    /// <summary>A keyring whose store lost its catalog may hold domains that no words bring back: it is kept. A crash after it leaves a store to recover again.</summary>
    private void SetKeyringAside(string store)
    {
        if (disk.FileExists(KeyringPath(store)))
        {
            string aside = $"{KeyringPath(store)}.before-{clock.GetUtcNow().ToUnixTimeSeconds()}";
            disk.Rename(KeyringPath(store), aside);
            disk.SyncDirectory(store);
            say($"the keyring that was there is kept as {aside}");
        }
    }

    /// <summary>Writes the keyring under its passphrase, or under none; the agent holds it from then on, since whoever typed the passphrase is there.</summary>
    private void LockKeyring(StorageConfig config, Keyring keyring, SecretBuffer? passphrase)
    {
        if (passphrase is not { Length: > 0 })
        {
            WriteKeyring(config.StorePath, keyring.WriteWithoutPassphrase(random));
            return;
        }

        byte[] file = keyring.Write(passphrase.Bytes, Argon2Cost.Moderate, random, out KeyringHeader header, out SecretBytes unlockKey);
        using (unlockKey)
        {
            WriteKeyring(config.StorePath, file);
            if (config.UnlockFor > TimeSpan.Zero)
            {
                Span<byte> id = stackalloc byte[Blake3.HashSize];
                AgentId(KeyringPath(config.StorePath), header, id);
                new AgentClient(AgentPaths.Socket(environment)).TryPutStarting(id, unlockKey.Span, config.UnlockFor);
            }
        }
    }

    /// <summary>What the agent knows a keyring by: another passphrase has another salt, so its key is another entry.</summary>
    private static void AgentId(string path, KeyringHeader header, Span<byte> id) =>
        Blake3.Hash(Encoding.UTF8.GetBytes($"{path}\n{header.SaltHigh:x16}{header.SaltLow:x16}"), id);

    private void WriteKeyring(string store, byte[] bytes)
    {
        WriteNextKeyring(store, bytes);
        SetKeyringAside(store);
        disk.Rename(KeyringPath(store) + ".new", KeyringPath(store));
        disk.SyncDirectory(store);
    }

    private void WriteNextKeyring(string store, byte[] bytes)
    {
        string next = KeyringPath(store) + ".new";
        if (disk.FileExists(next))
        {
            disk.Delete(next);
        }

        using (IDiskFile file = disk.Open(next, DiskOpen.CreateNew))
        {
            file.Write(0, bytes);
            file.Sync();
        }
    }

    /// <returns>What the caller disposes of.</returns>
    private (Keyring Keyring, KeyringHeader Header, SecretBytes UnlockKey) Unlock(StorageConfig config, PassphraseSource passphrases, CancellationToken cancel)
    {
        string path = KeyringPath(config.StorePath);
        if (!disk.DirectoryExists(config.StorePath))
        {
            throw NoStore(config.StorePath);
        }

        byte[] file;
        try
        {
            using IDiskFile open = disk.Open(path, DiskOpen.Read);
            if (open.Length > MaxKeyringBytes)
            {
                throw new UserError(ExitCode.Damaged, $"{path}: {open.Length} bytes, at most {MaxKeyringBytes} expected; put back a copy, or 'tdfs recover'");
            }

            file = new byte[open.Length];
            file = file[..open.Read(0, file)];
        }
        catch (DiskException missing) when (missing.Failure == DiskFailure.NotFound)
        {
            throw NoStore(config.StorePath);
        }

        Check(Keyring.ReadHeader(file, out KeyringHeader header, out string message), path, message);
        bool hasPassphrase = header.Mode == KeyringMode.Passphrase;
        Span<byte> id = stackalloc byte[Blake3.HashSize];
        AgentId(path, header, id);
        var agent = new AgentClient(AgentPaths.Socket(environment));
        if (hasPassphrase && agent.TryGet(id) is { } held)
        {
            using (held)
            {
                KeyringRead read = Keyring.ReadWithKey(file, held.Bytes);
                if (read.Outcome == KeyringOutcome.Opened)
                {
                    return (read.Keyring!, header, SecretBytes.CopyOf(held.Bytes));
                }
            }
        }

        using SecretBuffer? passphrase = hasPassphrase ? passphrases.Read(cancel) : null;
        SecretBytes key = Keyring.DeriveUnlockKey(header, passphrase is null ? [] : passphrase.Bytes);
        try
        {
            KeyringRead opened = Keyring.ReadWithKey(file, key.Span);
            Check(opened.Outcome, path, opened.Message);
            if (hasPassphrase && config.UnlockFor > TimeSpan.Zero)
            {
                agent.TryPutStarting(id, key.Span, config.UnlockFor);
            }

            return (opened.Keyring!, header, key);
        }
        catch
        {
            key.Dispose();
            throw;
        }
    }

    private static UserError NoStore(string path) => new(ExitCode.NoStore, $"no store in {path}; make one with 'tdfs init', name its folder with --store, or bring a lost one back from its words and holders with 'tdfs recover'");

    private static void Check(KeyringOutcome outcome, string path, string message)
    {
        ExitCode code = outcome switch
        {
            KeyringOutcome.Opened => ExitCode.Ok,
            KeyringOutcome.WrongPassphrase or KeyringOutcome.PassphraseNeeded => ExitCode.Keys,
            KeyringOutcome.OtherVersion => ExitCode.NoStore,
            _ => ExitCode.Damaged,
        };
        if (code != ExitCode.Ok)
        {
            string advice = code switch
            {
                ExitCode.Keys => "try again, or take the 24 words and 'tdfs recover'",
                ExitCode.NoStore => "use a release that knows it",
                _ => "put back a copy of the file, or move it away and take the 24 words and 'tdfs recover'",
            };
            throw new UserError(code, $"{path}: {message.TrimEnd('.')}; {advice}");
        }
    }

    private List<ConfiguredHolder> OpenFolders(StorageConfig config, Facades.StoreAccess access)
    {
        var holders = new List<ConfiguredHolder>();
        foreach (HolderConfig holder in HoldersOf(config))
        {
            try
            {
                holders.Add(new ConfiguredHolder(holder.Place, holder.Path, FolderHolder.Open(disk, holder.Path, random, mayWrite: access == Facades.StoreAccess.Write), null) { QuotaBytes = holder.QuotaBytes, IsCached = holder.IsCached, Country = holder.Country });
            }
            catch (Exception problem) when (problem is DiskException or DamagedFormatException)
            {
                holders.Add(new ConfiguredHolder(holder.Place, holder.Path, null, problem.Message) { QuotaBytes = holder.QuotaBytes, IsCached = holder.IsCached, Country = holder.Country });
            }
        }

        return holders;
    }

    /// <summary>Lets a folder that is empty or missing become a holder when a writer meets it, unless its holder is only absent.</summary>
    private ConfiguredHolder WithMaking(ConfiguredHolder holder, bool replacesAbsent)
    {
        if (PeerHolders.IsPeer(holder.Address) || holder.IsOutside)
        {
            return holder; // its folder is its owner's affair; nothing will lie there
        }

        string parent = Path.GetDirectoryName(holder.Address) is { Length: > 0 } above ? above : "/";
        bool isFree;
        try
        {
            isFree = holder.Holder is null && disk.DirectoryExists(parent) && FolderHolder.IsFree(disk, holder.Address);
        }
        catch (DiskException)
        {
            isFree = false; // the problem is told already
        }

        return isFree ? holder with { Make = isAbsent => isAbsent && !replacesAbsent ? null : MakeHolder(holder, isAbsent) } : holder;
    }

    private FolderHolder? MakeHolder(ConfiguredHolder holder, bool isAbsent)
    {
        try
        {
            FolderHolder made = FolderHolder.Create(disk, holder.Address, random);
            say(isAbsent ? $"a new holder at {holder.Address} replaces the one that was there" : $"holder {holder.Address}: a new one was made there");
            return made;
        }
        catch (DiskException failure)
        {
            say($"{failure.Message}; no holder was made there");
            return null;
        }
    }

    /// <summary>Of the memory for writing, an arena is being filled and one is being coded; what is left may wait for the disk.</summary>
    private static int SealingCount(long writeBufferBytes) => (int)Math.Clamp((writeBufferBytes / ArenaLayout.MaxNominalBytes) - 2, 1, 1024);

    /// <summary>What becomes of configured folders that are empty or missing.</summary>
    private enum NewHolders
    {
        /// <summary>Nothing: who reads writes nothing, init has made its holders, and what recover knows of holders may be less than there are.</summary>
        None,

        /// <summary>New holders, where the catalog knows none that may come back.</summary>
        Add,

        /// <summary>New holders in place of absent ones too, as long as one is left to fill them from.</summary>
        Replace,
    }

    private async ValueTask<BlockStore> OpenStoreAsync(
        StorageConfig config, Keyring keyring, Facades.StoreAccess access, string verb, NewHolders newHolders, bool mustExist, CancellationToken cancel, bool isRehearsal = false, bool waitsForAll = false, Action<KeyDomain>? keep = null)
    {
        for (bool isTold = false; ; isTold = true)
        {
            try
            {
                return await TryOpenStoreAsync(config, keyring, access, verb, newHolders, mustExist, isRehearsal, keep, cancel).ConfigureAwait(false);
            }
            catch (StoreException locked) when (locked.Problem == StoreProblem.Locked && (waitsForAll || locked.WrittenBy.StartsWith($"tdfs {ReclaimRun.Verb},", StringComparison.Ordinal) || locked.WrittenBy.StartsWith($"tdfs {StoreFreed.Verb},", StringComparison.Ordinal)))
            {
                // Reclaim lets go every few seconds; reclaim itself waits for anybody.
                if (!isTold)
                {
                    say($"waiting for {locked.WrittenBy}");
                }

                await Task.Delay(s_lockTurn, clock, cancel).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask<BlockStore> TryOpenStoreAsync(
        StorageConfig config, Keyring keyring, Facades.StoreAccess access, string verb, NewHolders newHolders, bool mustExist, bool isRehearsal, Action<KeyDomain>? keep, CancellationToken cancel)
    {
        if (access == Facades.StoreAccess.Write)
        {
            disk.CreateDirectory(config.StorePath + "/caches");
        }

        KeyDomain realm = keyring.Domains.FirstOrDefault(static domain => domain.Kind == DomainKind.Realm)
            ?? throw new UserError(ExitCode.Damaged, "the keyring has no realm; put back a copy, or 'tdfs recover'");
        var keys = new StoreKeys
        {
            Device = keyring.DeviceNumber,
            DeviceKeys = keyring.Device,
            Certificate = keyring.Certificate,
            Realm = realm,
            Domains = [.. keyring.Domains],
            Keep = keep,
            Tag = keyring.Tag,
            AnchorKey = keyring.AnchorKey,
            AccountPublicKey = keyring.AccountPublicKey.ToArray(),
            RecoveryPublicKey = keyring.RecoveryPublicKey.ToArray(),
        };
        var options = new StoreOptions
        {
            StateFolder = config.StorePath,
            MustExist = mustExist,
            Survive = config.Survive,
            Rule = config.Countries,
            Rehearse = isRehearsal,
            CompressionLevel = config.CompressionLevel,
            SealingCount = SealingCount(config.WriteBufferBytes),
            TrashDays = (int)Math.Ceiling(config.TrashFor.TotalDays),
            OpenLookup = () => IndexSnapshot.TryOpen(disk, config.StorePath + "/index", config.IndexBytes),
            Cache = config.CacheBytes > 0 && !isRehearsal && (config.Holders.Any(static holder => holder.IsCached) || ConfigFile.HasPeers(config.StorePath))
                ? WindowCache.TryOpen(disk, config.StorePath + "/cache", keyring.CacheKey, config.CacheBytes, config.CacheFloorBytes, random)
                : null,
        };
        List<ConfiguredHolder> holders = OpenFolders(config, access);
        try
        {
            holders.AddRange(await new PeerHolders(disk, random, clock, config.Node.Listen, say, config.Node.IsFoundOnLan).OpenAsync(config.StorePath, keyring, config.Countries, access == Facades.StoreAccess.Write, cancel).ConfigureAwait(false));
            holders = LostPeers.GiveUp(config.Countries.Apply(holders), new ScoreFile(disk, config.StorePath, keyring.CacheKey, random, clock).Read(), config.Survive);
            return await OpenStoreAsync(config, options, keys, keyring, holders, access, verb, newHolders, cancel).ConfigureAwait(false);
        }
        catch
        {
            holders.ForEach(static holder => (holder.Holder as IDisposable)?.Dispose());
            options.Cache?.Dispose();
            throw;
        }
    }

    private async ValueTask<BlockStore> OpenStoreAsync(
        StorageConfig config, StoreOptions options, StoreKeys keys, Keyring keyring, List<ConfiguredHolder> holders, Facades.StoreAccess access, string verb, NewHolders newHolders, CancellationToken cancel)
    {
        if (newHolders != NewHolders.None)
        {
            bool replacesAbsent = newHolders == NewHolders.Replace && holders.Exists(static holder => holder.Holder is not null);
            holders = holders.ConvertAll(holder => WithMaking(holder, replacesAbsent));
        }

        if (access == Facades.StoreAccess.Write && holders.TrueForAll(static holder => holder.Make is null))
        {
            ConfiguredHolder.RequireOne(holders);
        }

        foreach (ConfiguredHolder left in holders.Where(static holder => holder is { Problem: not null, Make: null, IsOutside: false }))
        {
            say($"{left.Problem}; this run goes on without the holder");
        }

        BlockStore store = await BlockStore.OpenAsync(
            disk,
            options,
            keys,
            holders,
            () => OpenIndex(disk, config),
            clock,
            random,
            access == Facades.StoreAccess.Write ? Blocks.Store.StoreAccess.Write : Blocks.Store.StoreAccess.Read,
            $"tdfs {verb}, process {Environment.ProcessId} on {Environment.MachineName}, since {clock.GetUtcNow():yyyy-MM-dd HH:mm} UTC",
            say,
            cancel).ConfigureAwait(false);
        PeerHolders.Teach(store);
        if (access == Facades.StoreAccess.Write)
        {
            if (store.HasIntents)
            {
                await TakeInIntentsAsync(store, clock, say, cancel).ConfigureAwait(false);
            }

            if (store.HasPostponed)
            {
                await store.MeetOthersAsync(cancel).ConfigureAwait(false); // what waited for these
            }

            await new RevocationNews(store, config.StorePath, keyring, disk, random, clock).KeepAsync(cancel).ConfigureAwait(false);
            StatCache.Clean(disk, config.StorePath + "/caches", store.Catalog.Heads().Select(static signed => signed.Head.Volume));
        }

        foreach (ConfiguredHolder left in holders.Where(left => left.Make is not null && store.Holders.All(known => known.Address != left.Address || known.Holder is null)))
        {
            say($"{left.Problem}; this run goes on without the holder: attach its disk, or let 'tdfs repair' make a new one there");
        }

        return store;
    }

    /// <summary>What was synced in a volume before a crash and not committed goes into its root, before anything else happens to the volume.</summary>
    private static async ValueTask TakeInIntentsAsync(BlockStore store, TimeProvider clock, Action<string> say, CancellationToken cancel)
    {
        try
        {
            await ActiveTree.TakeInIntentsAsync(store, clock, cancel).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            say($"{damage.Message}; what was written to a volume before a crash stays in the journal, run 'tdfs repair'");
        }
    }

    /// <summary>Their locks too: a process that opens a store again is no second writer of its folders.</summary>
    internal static void LetGoOfHolders(BlockStore closed)
    {
        foreach (Blocks.Placing.StoreHolder holder in closed.Holders)
        {
            (holder.Holder as IDisposable)?.Dispose();
        }
    }

    private static IBlockIndex OpenIndex(IDisk disk, StorageConfig config)
    {
        string folder = config.StorePath + "/index";
        return RunIndex.IsIn(disk, folder)
            ? new RunIndex(disk, folder, config.IndexBytes)
            : new GrowingIndex(() => new RunIndex(disk, folder, config.IndexBytes), GrowingIndex.DefaultMemoryEntries);
    }
}
