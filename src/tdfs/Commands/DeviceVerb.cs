using System.CommandLine;
using System.Text;
using System.Text.Json;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs device`: the machines of one account, each a writer of its own.</summary>
internal static class DeviceVerb
{
    private const int MaxNameBytes = 64;

    internal static Verb Create(VerbContext context)
    {
        Verb device = new(
            "device",
            "Adds, shows, retires and revokes the machines of this account, which share its holders and volumes",
            "tdfs device add              # on a machine that has the store: prints a code and waits",
            "tdfs device join CODE        # on the new one, with the same holders in its storage.toml",
            "tdfs device list")
        {
            Add(context),
            Join(context),
            List(context),
            Say(context, "retire", "A device that will not come back: its arenas become this one's, and nothing waits for it any more", "tdfs device retire desk", static (devices, name, cancel) => devices.RetireAsync(name, cancel)),
            Say(context, "revoke", "A device that is in other hands: as retire, nothing that it writes from now on counts, and it reads nothing new", "tdfs device revoke phone", static (devices, name, cancel) => devices.RevokeAsync(name, cancel)),
        };
        return device;
    }

    private static Verb Add(VerbContext context)
    {
        Option<string?> validFor = new("--for") { Description = "How long the code can be used; an hour unless said otherwise", HelpName = "duration" };
        Option<bool> noWait = new("--no-wait") { Description = "Print the code and end; `tdfs up` or `tdfs node` must answer for it then" };
        Verb add = new("add", "Prints a code for one new machine of this account, and waits until it was used", "tdfs device add", "tdfs device add --for 10m") { validFor, noWait };
        add.Does(context, async (run, cancel) =>
        {
            TimeSpan duration = run.Get(validFor) switch
            {
                null => TimeSpan.FromHours(1),
                { } text when Units.TryParseDuration(text, out TimeSpan given) => given,
                { } text => throw new UserError(ExitCode.Usage, $"found --for '{text}', expected {Units.DurationForm}"),
            };
            if (duration <= TimeSpan.Zero || duration > TimeSpan.FromDays(7))
            {
                throw new UserError(ExitCode.Usage, $"found --for '{run.Get(validFor)}', expected up to 7d");
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                OfferResult offer = await store.Devices.OfferAsync(duration, cancel).ConfigureAwait(false);
                if (run.Get(noWait) && offer.Addresses.Count == 0)
                {
                    throw new UserError(ExitCode.Config, "found --no-wait and no [node] listen, expected one of them left away: without a node only this verb answers the new machine");
                }

                run.Output.Result(
                    json =>
                    {
                        json.WriteString("code", offer.Code);
                        json.WriteString("expires", Show.IsoTime(offer.ExpiresAtSeconds * 1_000_000_000));
                        json.WriteNumber("device", offer.Device);
                        Report.WriteList(json, "addresses", offer.Addresses);
                        Report.WriteList(json, "folders", offer.Folders);
                    },
                    text => text.WriteLine(offer.Code));
                string[] ways =
                [
                    .. offer.Addresses.Count > 0 ? (string[])[$"it dials {string.Join(" or ", offer.Addresses)}, where `tdfs up` or `tdfs node` must run"] : [],
                    .. offer.Folders.Count > 0 ? (string[])[$"{(offer.Addresses.Count > 0 ? "or " : "")}the two meet at {string.Join(" or ", offer.Folders)}, as a [[holder]] of its storage.toml too"] : [],
                ];
                run.Output.Say($"for one machine, within {Show.Duration(duration)}: `tdfs device join` there; {string.Join(", ", ways)}");
                if (run.Get(noWait))
                {
                    return ExitCode.Ok;
                }

                run.Output.Say("waiting for it; Ctrl-C ends that");
                string name = await store.Devices.WaitAsync(offer, cancel).ConfigureAwait(false)
                    ?? throw new UserError(ExitCode.NotFound, $"nobody used the code within {Show.Duration(duration)}; `tdfs device add` makes another");
                run.Output.Say($"{TerminalText.Clean(name)} is device {offer.Device} of this account");
                return ExitCode.Ok;
            }
        });
        return add;
    }

    private static Verb Join(VerbContext context)
    {
        Argument<string[]> code = new("code") { Description = "As `tdfs device add` printed it", Arity = ArgumentArity.ZeroOrMore };
        Option<bool> words = new("--words") { Description = "By the 24 words instead of a code" };
        Option<int?> wordsFd = new("--words-fd") { Description = "Read the words from this file descriptor, on one line", HelpName = "n" };
        Option<string?> peer = new("--peer") { Description = "With the words: a peer that keeps something of this account", HelpName = "host:port" };
        Option<string?> name = new("--name") { Description = "What the device is called; as the machine unless said otherwise", HelpName = "name" };
        Verb join = new("join", "Makes this machine another device of an account", "tdfs device join CODE", "tdfs device join --words") { code, words, wordsFd, peer, name };
        join.Does(context, async (run, cancel) =>
        {
            string given = string.Join(' ', run.Get(code));
            bool byWords = run.Get(words) || run.Get(wordsFd) is not null;
            if (byWords == (given.Length > 0) || (!byWords && run.Get(peer) is not null))
            {
                throw new UserError(ExitCode.Usage, "expected a code as `tdfs device add` prints it on the other machine, or --words (with --peer, if a peer has the holders' list)");
            }

            if (run.Get(name) is { } called && (called.Length == 0 || called.Any(char.IsControl) || Encoding.UTF8.GetByteCount(called) > MaxNameBytes))
            {
                throw new UserError(ExitCode.Usage, $"found --name '{called}', expected 1 to {MaxNameBytes} bytes without control characters");
            }

            StorageConfig config = run.LoadConfig();
            if (!byWords)
            {
                using SecretBuffer passphrase = run.Passphrases.ReadNew(cancel);
                JoinResult joined = await run.Host.JoinAsync(new JoinRequest { Config = config, Code = given, Name = run.Get(name), NewPassphrase = passphrase }, cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WriteNumber("device", joined.Number);
                        json.WriteString("name", joined.Name);
                        json.WriteNumber("holders", joined.HolderCount);
                        json.WriteNumber("arenas", joined.ArenaCount);
                        json.WriteNumber("snapshots", joined.SnapshotCount);
                    },
                    text => text.WriteLine($"this machine is device {joined.Number} ({TerminalText.Clean(joined.Name)}): {Show.Count(joined.SnapshotCount, "snapshot")} and {Show.Count(joined.ArenaCount, "arena")} at {Show.Count(joined.HolderCount, "holder")}"));
                return ExitCode.Ok;
            }

            using SecretBuffer typed = RecoverVerb.ReadWords(context, run.Get(wordsFd), cancel);
            using SecretBuffer chosen = run.Passphrases.ReadNew(cancel);
            var request = new RecoverRequest { Config = config, Words = typed, NewPassphrase = chosen, PeerAddress = run.Get(peer), AsNewDevice = true, DeviceName = run.Get(name) };
            using ProgressWriter progress = run.Output.StartProgress();
            RecoverResult result = await run.Host.RecoverAsync(request, progress, cancel).ConfigureAwait(false);
            progress.Dispose();
            run.Output.Result(
                json =>
                {
                    json.WriteNumber("holders", result.HolderCount);
                    json.WriteNumber("arenas", result.ArenaCount);
                    json.WriteNumber("snapshots", result.SnapshotCount);
                    Report.WriteList(json, "problems", result.Problems);
                },
                text => text.WriteLine($"this machine is a new device of the account: {Show.Count(result.SnapshotCount, "snapshot")} and {Show.Count(result.ArenaCount, "arena")} at {Show.Count(result.HolderCount, "holder")}"));
            return Report.Problems(run.Output, result.Problems) ? ExitCode.Reported : ExitCode.Ok;
        });
        return join;
    }

    private static Verb List(VerbContext context)
    {
        Verb list = new("list", "Shows the devices of this account: when each was last heard of, and what waits for it", "tdfs device list", "tdfs device list --json");
        list.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IReadOnlyList<DeviceStatus> devices = await store.Devices.ListAsync(cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WriteStartArray("devices");
                        foreach (DeviceStatus device in devices)
                        {
                            json.WriteStartObject();
                            Write(json, device);
                            json.WriteEndObject();
                        }

                        json.WriteEndArray();
                    },
                    text =>
                    {
                        Table table = new(">DEVICE", "NAME", "STATE", "LAST SEEN", ">WAITS FOR IT", "");
                        foreach (DeviceStatus device in devices)
                        {
                            table.Add(
                                $"{device.Number}", TerminalText.Clean(device.Name), device.State, device.LastSeen is { } day ? $"{day:yyyy-MM-dd}" : "-",
                                device.UnseenBytes > 0 ? Show.Size(device.UnseenBytes) : "-", device.Adopter > 0 ? $"adopted by {device.Adopter}" : "");
                        }

                        table.Write(text);
                    });
                return ExitCode.Ok;
            }
        });
        return list;
    }

    private static Verb Say(VerbContext context, string name, string sentence, string example, Func<IDevices, string, CancellationToken, ValueTask<DeviceStatus>> action)
    {
        Argument<string> which = new("device") { Description = "Its number or name, as `tdfs device list` shows them" };
        Verb say = new(name, sentence, example) { which };
        say.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                DeviceStatus device = await action(store.Devices, run.Get(which), cancel).ConfigureAwait(false);
                run.Output.Result(json => Write(json, device), text => text.WriteLine($"device {device.Number} ({TerminalText.Clean(device.Name)}) is {device.State}; device {device.Adopter} owns what it sealed, and its snapshots stay"));
                if (device.State == "revoked")
                {
                    run.Output.Say(device.KeysProblem is { } problem
                        ? $"new keys could not be begun ({TerminalText.Clean(problem)}): what is written from now on is readable to it if it still reaches the holders, until a later run of any writing command begins them"
                        : "what is written from now on is under new keys, which it does not get: contents, names, and everything the catalog says of them");
                    run.Output.Say("what it could read before stays readable to it, as do blocks that were there already and are used again; from anchors it goes on to learn which volumes there are and when they change, if it still reaches the holders: take its access to folders away; peers refuse it once they have heard of it");
                    foreach (string enrolled in device.Enrolled)
                    {
                        run.Output.Say($"device {TerminalText.Clean(enrolled)} has the new keys too, and was enrolled by a device that is revoked: revoke it as well if it is not yours");
                    }

                    foreach (string untold in device.Untold)
                    {
                        run.Output.Say($"not told yet: {TerminalText.Clean(untold)}; whoever opens this store next tells it");
                    }
                }

                return device.KeysProblem is null ? ExitCode.Ok : ExitCode.Reported;
            }
        });
        return say;
    }

    private static void Write(Utf8JsonWriter json, DeviceStatus device)
    {
        json.WriteNumber("number", device.Number);
        json.WriteString("name", device.Name);
        json.WriteString("state", device.State);
        json.WriteString("enrolled", Show.IsoTime(device.EnrolledAtSeconds * 1_000_000_000));
        if (device.LastSeen is { } day)
        {
            json.WriteString("lastSeen", $"{day:yyyy-MM-dd}");
        }

        json.WriteNumber("unseenBytes", device.UnseenBytes);
        if (device.KeysProblem is { } problem)
        {
            json.WriteString("keysProblem", problem);
        }

        if (device.Enrolled.Count > 0)
        {
            Report.WriteList(json, "enrolled", device.Enrolled);
        }

        if (device.Untold.Count > 0)
        {
            Report.WriteList(json, "untold", device.Untold);
        }

        if (device.Adopter > 0)
        {
            json.WriteNumber("adopter", device.Adopter);
        }
    }
}
