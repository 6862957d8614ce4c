using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs redundancy show|set|unset`: how many lost places a folder outlives. Needs storage.toml, and no passphrase.</summary>
internal static class RedundancyVerb
{
    internal static Verb Create(VerbContext context)
    {
        Verb verb = new(
            "redundancy",
            "Shows or sets how many lost places a folder outlives",
            "tdfs redundancy show                      # what the store does by itself",
            "tdfs redundancy show ~/photos             # what is in force for a folder",
            "tdfs redundancy set ~/photos survive=2    # for it and all below it, from the next import on",
            "tdfs redundancy unset ~/photos            # as the folder above it again")
        {
            ShowOne(context), SetOne(context), UnsetOne(context),
        };
        return verb;
    }

    private static Verb ShowOne(VerbContext context)
    {
        Argument<string?> folder = new("folder") { Description = "A folder of this machine; without one, the store's own setting", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new("show", "Shows what is in force for a folder", "tdfs redundancy show ~/photos") { folder };
        verb.Does(context, (run, _) => Task.FromResult(Show(run, run.Host.Redundancy(run.LoadConfig(), Named(run.Get(folder))))));
        return verb;
    }

    private static Verb SetOne(VerbContext context)
    {
        Argument<string> folder = new("folder") { Description = "A folder of this machine" };
        Argument<string> wanted = new("wanted") { Description = "survive=N, or k+m" };
        Verb verb = new(
            "set",
            "Sets it, as the attribute user.tdfs.redundancy of the folder",
            "tdfs redundancy set ~/photos survive=2",
            "tdfs redundancy set ~/photos/thumbnails survive=0",
            "tdfs redundancy set ~/photos 2+1")
        {
            folder, wanted,
        };
        verb.Does(context, (run, _) =>
        {
            RedundancyInfo info = run.Host.SetRedundancy(run.LoadConfig(), Named(run.Get(folder))!, run.Get(wanted));
            run.Output.Say("set; the next import of the folder keeps it so, and `tdfs repair` what older snapshots share with it");
            return Task.FromResult(Show(run, info));
        });
        return verb;
    }

    private static Verb UnsetOne(VerbContext context)
    {
        Argument<string> folder = new("folder") { Description = "A folder of this machine" };
        Verb verb = new("unset", "Lets a folder be kept as the one above it", "tdfs redundancy unset ~/photos") { folder };
        verb.Does(context, (run, _) => Task.FromResult(Show(run, run.Host.SetRedundancy(run.LoadConfig(), Named(run.Get(folder))!, null))));
        return verb;
    }

    private static string? Named(string? folder) =>
        folder is { Length: 0 } ? throw new UserError(ExitCode.Usage, "found an empty folder name, expected a folder of this machine") : folder;

    private static ExitCode Show(VerbRun run, RedundancyInfo info)
    {
        run.Output.Result(
            json =>
            {
                json.WriteString("redundancy", info.RedundancyClass);
                json.WriteNumber("survive", info.Survive);
                json.WriteNumber("places", info.PlaceCount);
                json.WriteString("wish", info.Wish);
                json.WriteString("from", info.From);
                json.WriteString("problem", info.Problem);
            },
            text => text.WriteLine(
                $"{info.RedundancyClass}: survives the loss of {HealthVerb.Places(info.Survive, info.PlaceCount)}, "
                + (info.Wish is string wish ? $"as {TerminalText.Clean(info.From ?? "the folder")} asks ({wish})" : "as storage.toml says")));
        if (info.Problem is string problem)
        {
            run.Output.Say("tdfs: " + problem);
        }

        return ExitCode.Ok;
    }
}
