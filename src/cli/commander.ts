/** commander, typed by the package that infers options and arguments from their declarations. */
import type * as typed from "@commander-js/extra-typings";
import * as commander from "commander";

// The package of the types exports the very same classes, but would be loaded at every start.
export const { Argument, Command, Option } = commander as unknown as typeof typed;
export type { CommandUnknownOpts, OutputConfiguration } from "@commander-js/extra-typings";
