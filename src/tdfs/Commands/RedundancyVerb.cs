using System.CommandLine;
using System.Globalization;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs redundancy show|set`: how many places a path survives the loss of.</summary>
internal static class RedundancyVerb
{
    private const string Prefix = "survive=";

    internal static Verb Create(VerbContext context)
    {
        Verb verb = new(
            "redundancy",
            "Shows or sets how many places a folder survives the loss of",
            "tdfs redundancy show photos 2026",
            "tdfs redundancy set photos 2026 survive=2",
            "tdfs redundancy set photos 2026 survive=inherit")
        {
            ShowOne(context), SetOne(context),
        };
        return verb;
    }

    private static Verb ShowOne(VerbContext context)
    {
        Argument<string> volume = new("volume") { Description = "The volume" };
        Argument<string?> path = new("path") { Description = "The folder or file", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new("show", "Shows what is wanted for a path", "tdfs redundancy show photos 2026") { volume, path };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                RedundancyInfo info = await store.Volumes.RedundancyAsync(run.Get(volume), VerbRun.ParsePath(run.Get(path)), cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WriteString("redundancy", info.RedundancyClass);
                        if (info.Survive is int survive)
                        {
                            json.WriteNumber("survive", survive);
                        }

                        if (info.InheritedFrom is byte[] from)
                        {
                            TerminalText.WriteName(json, "inheritedFrom", from);
                        }
                    },
                    text => text.WriteLine(
                        $"{info.RedundancyClass}, {(info.Survive is int survive ? $"survive={survive}" : "as storage.toml says")}"
                        + (info.InheritedFrom is byte[] from ? $" (from {(from.Length == 0 ? "the volume's root" : TerminalText.Escape(from))})" : "")));
                return ExitCode.Ok;
            }
        });
        return verb;
    }

    private static Verb SetOne(VerbContext context)
    {
        Argument<string> volume = new("volume") { Description = "The volume" };
        Argument<string> path = new("path") { Description = "The folder or file" };
        Argument<string> wanted = new("wanted") { Description = "survive=N, or survive=inherit" };
        Verb verb = new("set", "Sets it; repair then brings what is stored up to it", "tdfs redundancy set photos 2026 survive=2") { volume, path, wanted };
        verb.Does(context, async (run, cancel) =>
        {
            int? survive = Parse(run.Get(wanted));
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                await store.Volumes.SetRedundancyAsync(run.Get(volume), VerbRun.ParsePath(run.Get(path)), survive, cancel).ConfigureAwait(false);
                run.Output.Say("set; `tdfs repair` brings what is stored already up to it");
                return ExitCode.Ok;
            }
        });
        return verb;
    }

    private static int? Parse(string text)
    {
        string value = text.StartsWith(Prefix, StringComparison.Ordinal) ? text[Prefix.Length..] : "";
        return value == "inherit" ? null
            : int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int survive) && survive <= 16 ? survive
            : throw new UserError(ExitCode.Usage, $"found '{text}', expected survive=N with N from 0 to 16, or survive=inherit");
    }
}
