using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>What folders of this machine ask for, against the places that storage.toml names. Opens no store.</summary>
/// <remarks>Where the store has peers there are places that only its keyring can tell: nothing is refused for them here, and the import says what it can keep.</remarks>
internal sealed class FolderRedundancy(StorageConfig config)
{
    private readonly Placement _placement = new([.. StoreHost.HoldersOf(config).Select((holder, at) => new StoreHolder { Number = (ushort)at, Id = new HolderId(new Bytes16(0, (ulong)at)), Place = holder.Place, IsGone = !config.Countries.Allows(holder.Country) })], config.Countries);

    private readonly bool _hasPeers = ConfigFile.HasPeers(config.StorePath);

    /// <summary>What is in force for a folder; null: for the store.</summary>
    internal RedundancyInfo Show(string? folder)
    {
        (RedundancyWish Wish, string From)? found = folder is null ? null : Trying(() => DirectoryRedundancy.InForce(folder));
        int asked = found?.Wish.Survive ?? config.Survive ?? Placement.DefaultSurvive(_placement.PlaceCount);
        int kept = found is null || _hasPeers ? asked : Math.Min(asked, _placement.MaxSurvive);
        return new RedundancyInfo
        {
            Survive = kept,
            PlaceCount = _placement.PlaceCount,
            RedundancyClass = _placement.ClassFor(kept) is { } redundancy ? $"{redundancy.Data}+{redundancy.Parity}" : "none: " + _placement.CannotSurvive(kept),
            Wish = found?.Wish.ToString(),
            From = found?.From,
            Problem = kept < asked ? _placement.CannotSurvive(asked) : null,
        };
    }

    /// <summary>Gives a folder a wish of its own, or (null) takes it away; says what is in force then.</summary>
    internal RedundancyInfo Set(string folder, string? wanted)
    {
        RedundancyWish? wish = null;
        if (wanted is not null)
        {
            if (!DirectoryRedundancy.TryParse(wanted, out RedundancyWish parsed))
            {
                throw new UserError(ExitCode.Usage, $"found '{wanted}', expected survive=N with N from 0 to {DirectoryRedundancy.MaxSurvive}, or k+m such as 2+1");
            }

            if (!_hasPeers && parsed.NeededPlaces > _placement.PlaceCount)
            {
                throw new UserError(ExitCode.Usage, parsed.Data is null
                    ? _placement.CannotSurvive(parsed.Survive)
                    : $"{parsed} needs {parsed.NeededPlaces} places, one for each fragment, and {_placement.PlaceCount} {(_placement.PlaceCount == 1 ? "is" : "are")} configured{_placement.Rule}; add a [[holder]] in another place or ask for less");
            }

            wish = parsed;
        }

        bool isDone = Trying(() => DirectoryRedundancy.Set(folder, wish));
        return isDone ? Show(folder) : throw new UserError(ExitCode.NotFound, $"{folder} asks for nothing of its own; `tdfs redundancy show` says what it inherits");
    }

    private static T Trying<T>(Func<T> action)
    {
        const int NoEntry = 2;
        const int NotADirectory = 20;
        const int NotSupported = 95;
        try
        {
            return action();
        }
        catch (PosixException failure) when (failure.Errno is NoEntry or NotADirectory)
        {
            throw new UserError(ExitCode.NotFound, failure.Message + "; expected a folder on this machine", failure);
        }
        catch (PosixException failure) when (failure.Errno == NotSupported)
        {
            throw new UserError(ExitCode.DiskFailed, failure.Message + "; its filesystem keeps no extended attributes", failure);
        }
    }
}
