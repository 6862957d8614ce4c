using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Tdfs.Output;
using static TokTok.Storage.Tdfs.Output.DebugField;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The part of `tdfs debug` that reads files and objects as they lie: keyring, record logs with every copy, anchors and wrapped keys. Never a key.</summary>
/// <remarks>What is printed of the keyring is what the running verb opened; its file was checked then.</remarks>
internal sealed class StateDump(BlockStore store, Keyring keyring, IDisk disk, string stateFolder, DebugPage page)
{
    private const int MaxObjectBytes = 32 * 1024 * 1024;

    internal ValueTask KeyringAsync()
    {
        page.Row("account", Bare("tag", keyring.Tag), ("device", keyring.DeviceNumber), Bare("name", keyring.DeviceName));
        foreach (KeyDomain domain in keyring.Domains)
        {
            page.Row("domain", Bare("id", domain.Id), Bare("domain kind", domain.Kind), ("epochs", string.Join(' ', domain.Epochs)), ("current", domain.CurrentEpoch));
        }

        int realms = keyring.Domains.Count(static domain => domain.Kind == DomainKind.Realm);
        if (realms != 1)
        {
            page.Damaged($"the keyring: found {realms} realms, expected one");
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Every copy of every catalog and journal file. A tail behind the last whole record is what a crash leaves, or damage: both are told.</summary>
    internal async ValueTask LogsAsync(CancellationToken cancel)
    {
        KeyDomain realm = keyring.Domains.First(static domain => domain.Kind == DomainKind.Realm);
        IFragmentHolder[] holders = [.. store.Holders.Where(static holder => holder.Holder is not null).Select(static holder => holder.Holder!)];
        foreach ((string name, RecordLogKind kind) in ((string, RecordLogKind)[])[("catalog", RecordLogKind.Catalog), ("journal", RecordLogKind.Journal)])
        {
            string folder = stateFolder + "/" + name;
            var copies = new LogCopies(disk, folder, name, kind, store.Device, realm, new LogHeads());
            List<LogCopy> found = await copies.FindAsync(holders, cancel).ConfigureAwait(false);
            foreach (LogCopy copy in found.Where(copy => copies.CanOpen(copy.Header)).OrderBy(static copy => copy.Header.Number))
            {
                RecordLogExtent extent = await copies.ReadAsync(copy, static _ => { }, cancel).ConfigureAwait(false);
                page.Row(name, Bare("number", copy.Header.Number), ("at", copy.Where), ("records", extent.RecordCount), ("bytes", extent.ValidBytes), ("epoch", copy.Header.Epoch));
                if (extent.HasTail && (kind == RecordLogKind.Catalog || copy.LocalPath is null)) // a journal here is written in place
                {
                    page.Damaged($"{copy.Where}: found {extent.FileBytes - extent.ValidBytes} bytes behind the last whole record, expected none (a crash leaves some, and the next writer begins another file)");
                }
            }

            foreach (LogCopy locked in copies.Locked.OrderBy(static copy => copy.Header.Number))
            {
                page.Row($"locked {name}", Bare("number", locked.Header.Number), ("at", locked.Where), ("device", locked.Header.Device), ("epoch", locked.Header.Epoch), ("bytes", locked.Bytes));
            }

            HashSet<string> readable = [.. found.Concat(copies.Locked).Select(static copy => copy.LocalPath ?? copy.Holder!.Id + copy.ObjectName)];
            foreach (DiskEntry entry in disk.DirectoryExists(folder) ? disk.List(folder) : [])
            {
                if (!readable.Contains(folder + "/" + entry.Name))
                {
                    page.Damaged($"{folder}/{entry.Name}: found no header of a {name}, expected one");
                }
            }

            foreach (IFragmentHolder holder in holders)
            {
                foreach (HolderObject held in await holder.ListObjectsAsync(name + "/", cancel).ConfigureAwait(false))
                {
                    if (!readable.Contains(holder.Id + held.Name))
                    {
                        page.Damaged($"{held.Name} at holder {holder.Id}: found no header of this device's {name}, expected one, or it is another device's");
                    }
                }
            }
        }
    }

    internal async ValueTask AnchorsAsync(CancellationToken cancel)
    {
        foreach (StoreHolder holder in store.Holders.Where(static holder => holder.Holder is not null))
        {
            string own = Anchor.Prefix + keyring.Tag;
            foreach (HolderObject held in await holder.Holder!.ListObjectsAsync(Anchor.Prefix, cancel).ConfigureAwait(false))
            {
                if (held.Name.StartsWith(own, StringComparison.Ordinal))
                {
                    await CheckAsync(holder, held, bytes =>
                    {
                        Anchor anchor = Anchor.Read(bytes, keyring.AnchorKey.Span, held.Name);
                        page.Row("anchor", Bare("number", anchor.Number), ("at", holder.Place), ("device", anchor.Device), ("time", Show.IsoTime(anchor.TimeNs)), ("certificates", anchor.Certificates.Count),
                            ("domains", anchor.WrappedDomains.Count), ("holders", anchor.Holders.Count), ("heads", anchor.Heads.Count), ("logs", anchor.Logs.Count));
                    }, cancel).ConfigureAwait(false);
                }
            }

            foreach (HolderObject held in await holder.Holder!.ListObjectsAsync(Anchor.KeysPrefix + keyring.Tag, cancel).ConfigureAwait(false))
            {
                await CheckAsync(holder, held, bytes =>
                {
                    (DeviceCertificate certificate, ReadOnlyMemory<byte> wrapped) = Anchor.ReadKeys(bytes, keyring.AnchorKey.Span, keyring.AccountPublicKey, held.Name);
                    page.Row("wrapped keys", Bare("name", held.Name), ("at", holder.Place), ("bytes", wrapped.Length), ("by device", certificate.DeviceNumber));
                }, cancel).ConfigureAwait(false);
            }

            byte[] ours = keyring.Device.AgreementPublicKey.ToArray();
            foreach (HolderObject held in await holder.Holder!.ListObjectsAsync(EpochKeys.PrefixOf(keyring.Tag), cancel).ConfigureAwait(false))
            {
                if (!EpochKeys.TryParse(held.Name, keyring.Tag, ours, out _, out uint epoch))
                {
                    page.Row("epoch keys", Bare("name", held.Name), ("at", holder.Place), ("bytes", held.Length)); // for another device
                    continue;
                }

                await CheckAsync(holder, held, bytes =>
                {
                    EpochKeys left = EpochKeys.Read(bytes, epoch, ours, keyring.AnchorKey.Span, keyring.AccountPublicKey, held.Name);
                    page.Row("epoch keys", Bare("name", held.Name), ("at", holder.Place), ("bytes", left.WrappedDomain.Length), ("by device", left.Signer.DeviceNumber), ("epoch", epoch));
                }, cancel).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask CheckAsync(StoreHolder holder, HolderObject held, Action<byte[]> read, CancellationToken cancel)
    {
        if (held.Length > MaxObjectBytes)
        {
            page.Damaged($"{held.Name} at holder {holder.Id}: found {held.Length} bytes, expected at most {MaxObjectBytes}");
            return;
        }

        byte[] bytes = new byte[held.Length];
        int filled = 0;
        while (filled < bytes.Length && await holder.Holder!.ReadObjectAsync(held.Name, filled, bytes.AsMemory(filled), cancel).ConfigureAwait(false) is > 0 and int part)
        {
            filled += part;
        }

        try
        {
            read(bytes[..filled]);
        }
        catch (DamagedFormatException damage)
        {
            page.Damaged($"{damage.Message} (at holder {holder.Id})");
        }
    }
}
