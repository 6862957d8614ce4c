using System.Security.Cryptography;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <content>Volumes whose keys can be erased.</content>
/// <remarks>
/// Order of making: the keyring with the new domain durable, then the volume's first head. A crash between leaves a domain that nothing uses.
/// Order of burning: arenas to the trash, then the keyring without the domain durable, then the bytes of the older keyring overwritten, then the arenas deleted. A crash before the second leaves
/// the volume as it was (the next repair takes its arenas back); one before the third leaves bytes that no name leads to, which only the disk's own maintenance erases, as on any disk that does not
/// write in place; one before the fourth leaves arenas that nobody can read, and burning again deletes.
/// </remarks>
internal sealed partial class StoreHost
{
    private const string KeyringName = "keyring";

    public async ValueTask CreateBurnableAsync(OpenRequest request, string volume, CancellationToken cancel)
    {
        (Keyring keyring, KeyringHeader _, SecretBytes unlockKey) = Unlock(request.Config, request.Passphrases, cancel);
        using (keyring)
        using (unlockKey)
        {
            KeyDomain domain = KeyDomain.Create(DomainKind.Burnable, random);
            keyring.Add(domain);
            BlockStore store = await OpenStoreAsync(request.Config, keyring, Facades.StoreAccess.Write, request.Verb, NewHolders.Add, mustExist: true, cancel, keep: epochs => KeepEpochs(request.Config, unlockKey, epochs)).ConfigureAwait(false);
            try
            {
                await using (store.ConfigureAwait(false))
                {
                    StoreVolumes.RefuseTaken(store, volume);
                    ChangeKeyring(request.Config, unlockKey, erases: true, kept => kept.Add(domain.Copy())); // 1. keys
                    using Volume made = Volume.Create(store, volume, domain.Id, random);
                    await made.EditAsync(static root => ValueTask.FromResult(root), cancel).ConfigureAwait(false); // 2. the volume
                }
            }
            finally
            {
                LetGoOfHolders(store);
            }
        }
    }

    public async ValueTask<BurnResult> BurnAsync(OpenRequest request, string volume, CancellationToken cancel)
    {
        StorageConfig config = request.Config;
        (Keyring keyring, KeyringHeader _, SecretBytes unlockKey) = Unlock(config, request.Passphrases, cancel);
        using (keyring)
        using (unlockKey)
        {
            DomainId domain = await WithStoreAsync(
                async store =>
                {
                    if (store.DomainOfUnreadable(volume) is { } burned)
                    {
                        return burned; // a burning that was cut off, or keys that were elsewhere: what is left goes
                    }

                    DomainId found = store.Heads.FirstOrDefault(head => head.VolumeName == volume)?.Domain ?? throw new UserError(ExitCode.NotFound, $"no volume {volume}; `tdfs volume list` shows what there is");
                    if (keyring.Find(found) is not { Kind: DomainKind.Burnable })
                    {
                        throw new UserError(ExitCode.Usage, $"found volume {volume}, whose keys the words bring back, expected a burnable one; `tdfs forget` and `tdfs reclaim` take its snapshots away");
                    }

                    await new Reclaimer(store, new TreeWalker()).TrashDomainAsync(found, cancel).ConfigureAwait(false); // 1. out of the way
                    return found;
                }).ConfigureAwait(false);
            if (keyring.Remove(domain))
            {
                ChangeKeyring(config, unlockKey, erases: true, kept => kept.Remove(domain)); // 2. keys
            }

            (long bytes, IReadOnlyList<string> reasons) = await WithStoreAsync(
                async store =>
                {
                    VolumeId[] burned = [.. store.Catalog.Heads().Where(signed => signed.Head.Domain == domain).Select(static signed => signed.Head.Volume)];
                    (long Bytes, IReadOnlyList<string> Reasons) deleted = await new Reclaimer(store, new TreeWalker()).DeleteDomainAsync(domain, cancel).ConfigureAwait(false); // 3. space
                    try
                    {
                        await StoreFreed.FileOf(config.StorePath, keyring.CacheKey, disk, random, clock) // 4. names of folders are not left behind
                            .ChangeAsync(freed => burned.Aggregate(freed, static (list, volume) => list.Without(volume, default)), cancel).ConfigureAwait(false);
                    }
                    catch (DamagedFormatException damage)
                    {
                        say(damage.Message);
                    }

                    return deleted;
                }).ConfigureAwait(false);
            return new BurnResult(bytes, [.. disk.List(config.StorePath).Where(static entry => !entry.IsDirectory && entry.Name.StartsWith(KeyringName + ".", StringComparison.Ordinal))
                .Select(entry => Path.Join(config.StorePath, entry.Name))]) { Reasons = reasons };

            async ValueTask<T> WithStoreAsync<T>(Func<BlockStore, ValueTask<T>> use)
            {
                BlockStore store = await OpenStoreAsync(config, keyring, Facades.StoreAccess.Write, request.Verb, NewHolders.Add, mustExist: true, cancel, keep: epochs => KeepEpochs(config, unlockKey, epochs)).ConfigureAwait(false);
                try
                {
                    await using (store.ConfigureAwait(false))
                    {
                        return await use(store).ConfigureAwait(false);
                    }
                }
                finally
                {
                    LetGoOfHolders(store);
                }
            }
        }
    }

    /// <summary>Puts epochs that a store has begun, or taken from another device, into the keyring's file. A crash in between leaves the older file or the newer one.</summary>
    private void KeepEpochs(StorageConfig config, SecretBytes unlockKey, KeyDomain domain) => ChangeKeyring(config, unlockKey, erases: false, kept => kept.Find(domain.Id)?.Merge(domain, out _));

    /// <summary>Changes the keyring that is in the file now, which another process may have changed since this one read it, and puts it in the older one's place. The caller holds the store's lock.</summary>
    /// <param name="erases">Whether the older one's bytes are overwritten: something in it is to be gone.</param>
    private void ChangeKeyring(StorageConfig config, SecretBytes unlockKey, bool erases, Action<Keyring> change)
    {
        string path = KeyringPath(config.StorePath);
        using IDiskFile older = disk.Open(path, erases ? DiskOpen.ReadWrite : DiskOpen.Read);
        byte[] file = new byte[Math.Min(older.Length, MaxKeyringBytes)];
        file = file[..older.Read(0, file)];
        Check(Keyring.ReadHeader(file, out KeyringHeader header, out string message), path, message);
        KeyringRead read = Keyring.ReadWithKey(file, unlockKey.Span);
        Check(read.Outcome, path, read.Message);
        using Keyring kept = read.Keyring!;
        change(kept);
        WriteNextKeyring(config.StorePath, header.Mode == KeyringMode.Passphrase ? kept.WriteWithKey(header, unlockKey.Span, random) : kept.WriteWithoutPassphrase(random));
        disk.Rename(path + ".new", path);
        disk.SyncDirectory(config.StorePath);
        if (erases)
        {
            byte[] nothing = new byte[older.Length];
            RandomNumberGenerator.Fill(nothing);
            older.Write(0, nothing);
            older.Sync();
        }
    }
}
