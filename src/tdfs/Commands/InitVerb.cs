using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs init`: makes a store and shows the words, once.</summary>
internal static class InitVerb
{
    internal static Verb Create(VerbContext context)
    {
        Option<bool> sheet = new("--sheet") { Description = "Print a sheet for your drawer: words, holders, and what to do with them" };
        Verb verb = new(
            "init",
            "Makes a store and shows its 24 words once",
            "tdfs init                         # where storage.toml says",
            "tdfs init --store /mnt/blue/tdfs  # somewhere else",
            "tdfs init --sheet | lp            # a sheet to keep on paper")
        {
            sheet,
        };
        verb.Does(context, async (run, cancel) =>
        {
            StorageConfig config = run.LoadConfig();
            using SecretBuffer passphrase = run.Passphrases.ReadNew(cancel);
            using InitResult made = await run.Host.InitAsync(config, passphrase, cancel).ConfigureAwait(false);
            try
            {
                run.Output.Result(json => WriteJson(json, made), text => WriteText(text, made, run.Get(sheet)));
            }
            catch (UserError refused)
            {
                throw new UserError(refused.Code, $"{refused.Message}; the store was made, but nobody saw its words and nothing shows them again: first remove {made.StorePath} and what lies at its holders", refused);
            }

            if (passphrase.Length == 0)
            {
                run.Output.Say("tdfs: without a passphrase whoever reads this disk reads the store; the keyring is protected by its file mode alone");
            }

            return ExitCode.Ok;
        });
        return verb;
    }

    private static void WriteJson(Utf8JsonWriter json, InitResult made)
    {
        json.WriteString("store", made.StorePath);
        json.WriteString("redundancy", made.RedundancyClass);
        json.WriteString("words", made.Words.Bytes);
    }

    private static void WriteText(TextWriter text, InitResult made, bool isSheet)
    {
        text.WriteLine(isSheet ? "TDFS recovery sheet" : $"Made a store in {made.StorePath}, redundancy {made.RedundancyClass}.");
        text.WriteLine();
        text.WriteLine("These 24 words bring everything back when this machine is lost. They are shown once; write them down:");
        text.WriteLine();
        WriteWords(text, made.Words.Bytes);
        text.WriteLine();
        if (isSheet)
        {
            text.WriteLine($"Store:   {made.StorePath}");
            text.WriteLine($"Made of: {made.RedundancyClass}");
            foreach (HolderConfig holder in made.Holders)
            {
                text.WriteLine($"Holder:  {holder.Path} (place {holder.Place})");
            }

            text.WriteLine();
            text.WriteLine("To get everything back: install tdfs, attach enough of the holders above, name them in storage.toml,");
            text.WriteLine("run `tdfs recover`, type the words, then `tdfs snapshots` and `tdfs restore`.");
        }
    }

    /// <summary>Four words a line, numbered. Written character by character: no string of a word is made.</summary>
    private static void WriteWords(TextWriter text, ReadOnlySpan<byte> words)
    {
        const int WordsPerLine = 4;
        const int ColumnWidth = 10;
        int number = 0;
        foreach (Range range in words.Split((byte)' '))
        {
            ReadOnlySpan<byte> word = words[range];
            number++;
            text.Write($"{number,4}. ");
            foreach (byte letter in word)
            {
                text.Write((char)letter);
            }

            bool endsLine = number % WordsPerLine == 0;
            text.Write(endsLine ? "\n" : new string(' ', Math.Max(1, ColumnWidth - word.Length)));
        }
    }
}
