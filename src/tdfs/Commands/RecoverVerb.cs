using System.CommandLine;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs recover`: everything back from the words and enough holders.</summary>
internal static class RecoverVerb
{
    internal static Verb Create(VerbContext context)
    {
        Option<bool> drill = new("--drill") { Description = "Prove that words and holders suffice, in a temporary folder; the store is not touched" };
        Option<bool> readAll = new("--read-all") { Description = "With --drill: read every byte of every fragment, not only structures and names" };
        Option<int?> wordsFd = new("--words-fd") { Description = "Read the words from this file descriptor, on one line", HelpName = "n" };
        Option<string?> peer = new("--peer") { Description = "A peer that keeps something of this account: it leads to the others", HelpName = "host:port" };
        Option<bool> newDevice = new("--new-device") { Description = "This machine becomes another device of the account, as the others may live" };
        Verb verb = new(
            "recover",
            "Rebuilds a lost store from its 24 words and the holders that storage.toml names, or one peer's address",
            "tdfs recover --drill    # do it now and then; with --read-all once a year",
            "tdfs recover            # on the new machine, holders attached and named in storage.toml",
            "tdfs recover --peer box.example.org:4919")
        {
            drill, readAll, wordsFd, peer, newDevice,
        };
        verb.Does(context, async (run, cancel) =>
        {
            bool isDrill = run.Get(drill);
            if (run.Get(readAll) && !isDrill)
            {
                throw new UserError(ExitCode.Usage, "found --read-all without --drill, expected both; after a recovery, `tdfs check --read-all` reads every byte");
            }

            StorageConfig config = run.LoadConfig();
            if (run.Get(newDevice) && isDrill)
            {
                throw new UserError(ExitCode.Usage, "found --new-device with --drill, expected one of them: a drill makes no device");
            }

            using SecretBuffer words = ReadWords(context, run.Get(wordsFd), cancel);
            using SecretBuffer? passphrase = isDrill ? null : run.Passphrases.ReadNew(cancel);
            RecoverRequest request = new() { Config = config, Words = words, NewPassphrase = passphrase, IsDrill = isDrill, ReadAll = run.Get(readAll), PeerAddress = run.Get(peer), AsNewDevice = run.Get(newDevice) };
            using ProgressWriter progress = run.Output.StartProgress();
            RecoverResult result = await run.Host.RecoverAsync(request, progress, cancel).ConfigureAwait(false);
            progress.Dispose();
            run.Output.Result(
                json =>
                {
                    json.WriteBoolean("drill", isDrill);
                    json.WriteNumber("holders", result.HolderCount);
                    json.WriteNumber("arenas", result.ArenaCount);
                    json.WriteNumber("snapshots", result.SnapshotCount);
                    Report.WriteList(json, "problems", result.Problems);
                    if (result.Proof is { } proof)
                    {
                        json.WriteStartObject("check");
                        CheckVerb.WriteResult(json, proof);
                        json.WriteEndObject();
                    }
                },
                text =>
                {
                    text.WriteLine(
                        $"{(isDrill ? "the drill found" : "recovered")} {Show.Count(result.SnapshotCount, "snapshot")} and {Show.Count(result.ArenaCount, "arena")} at {Show.Count(result.HolderCount, "holder")}"
                        + (isDrill ? "; the store was not touched" : ""));
                    if (result.Proof is { } proof)
                    {
                        CheckVerb.WriteResult(text, proof);
                    }
                });
            return Report.Problems(run.Output, result.Problems) | result.Proof is { IsClean: false }
                ? result.Proof is { IsClean: false } ? ExitCode.Damaged : ExitCode.Reported
                : ExitCode.Ok;
        });
        return verb;
    }

    internal static SecretBuffer ReadWords(VerbContext context, int? descriptor, CancellationToken cancel) => descriptor is int number
        ? GivenDescriptor.ReadLine(number, "--words-fd", "the words", cancel)
        : TerminalPrompt.TryAsk("The 24 words, on one line: ", "the words", context.Terminal, cancel)
            ?? throw new UserError(ExitCode.Keys, "found no terminal to ask for the words, expected one, or --words-fd N");
}
