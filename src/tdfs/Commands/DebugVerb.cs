using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs debug`: prints and checks any structure on disk.</summary>
internal static class DebugVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string?> structure = new("structure") { Description = "What to print; without it the structures are listed", Arity = ArgumentArity.ZeroOrOne };
        Argument<string?> name = new("name") { Description = "Which one (an arena's id, a volume, a snapshot, a score); without it all", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> names = new("--names") { Description = "With the names of files, in trees and stat caches" };
        Verb verb = new(
            "debug",
            "Prints and checks an on-disk structure, as docs/format.md describes it",
            "tdfs debug            # which structures there are",
            "tdfs debug catalog",
            "tdfs debug arenas 4f1c",
            "tdfs debug trees latest --names")
        {
            structure, name, names,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IReadOnlyList<string> known = store.Care.DebugStructures;
                if (run.Get(structure) is not string wanted)
                {
                    run.Output.Result(
                        json => Report.WriteList(json, "structures", known),
                        text =>
                        {
                            foreach (string each in known)
                            {
                                text.WriteLine(each);
                            }
                        });
                    return ExitCode.Ok;
                }

                if (!known.Contains(wanted, StringComparer.Ordinal))
                {
                    throw new UserError(ExitCode.Usage, $"found the unknown structure '{wanted}', expected one of {string.Join(", ", known)}");
                }

                DebugPage page = run.Output.IsJson ? new JsonDebugPage(run.Output.DataBytes, wanted, run.Get(name)) : new TextDebugPage(run.Output.Data);
                using (page as IDisposable)
                {
                    await store.Care.DebugAsync(wanted, run.Get(name), run.Get(names), page, cancel).ConfigureAwait(false);
                    page.End();
                }

                return page.IsWhole ? ExitCode.Ok : ExitCode.Damaged;
            }
        });
        return verb;
    }
}
